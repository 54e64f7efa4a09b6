"""What a sampler answers depends on the study's content alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.search.samplers import make_sampler
from infra.search.study import LedgerJournal, Studies
from search_spaces.space import Space
from tests.infra.conftest import family, score, sweep

TRIALS = 24
# Its first questions come before it has the trials that it needs: what it then knew must not stay.
SAMPLER = {"name": "tpe", "n_startup_trials": 12}


def ask_study(studies: Studies, number: int, threads: list[ThreadPoolExecutor]) -> dict[str, Any]:
    """One question, asked by the thread whose turn it is, and its answer's value told."""
    thread = threads[number % len(threads)]
    noop = family(trials=TRIALS, sampler=SAMPLER)
    study_number, params = thread.submit(studies.ask, noop, number, 1).result()
    value = score(params, 4)
    studies.report("noop", study_number, 4, value)
    studies.tell("noop", study_number, "complete", [value])
    return params


def test_study_answers_the_same_from_any_thread_or_replay() -> None:
    """The actor asks from several threads; a replay begins with none of what a thread remembers."""
    spec = sweep(family(trials=TRIALS, sampler=SAMPLER))
    threads = [ThreadPoolExecutor(1) for _ in range(3)]
    one, several = Studies(spec, ()), Studies(spec, ())
    records: list[str] = []
    replayed = []
    for number in range(TRIALS):
        fresh = Studies(spec, records)  # each question to a study that was just replayed
        replayed.append(ask_study(fresh, number, threads[:1]))
        records += fresh.journal.take_records()
    assert [ask_study(one, number, threads[:1]) for number in range(TRIALS)] == replayed
    assert [ask_study(several, number, threads) for number in range(TRIALS)] == replayed
    for thread in threads:
        thread.shutdown()


def test_study_search_space_intersection_equals_optunas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside samplers that look through all trials; what those share shrinks by pruned ones alone."""
    space = {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]},
        "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    }
    noop = family(
        trials=TRIALS,
        sampler={"name": "tpe", "n_startup_trials": 3},
        space=Space.from_mapping(space).to_json(),
        start_with=tuple({"x": x, "optimizer": "sgd", "momentum": x / 2} for x in (0.1, 0.4, 0.6, 0.9)),
    )
    monkeypatch.setattr("infra.search.samplers.FIRST_BATCH", 0)  # TPE right after the known points
    spec = sweep(noop)
    kept, records, shared = Studies(spec, ()), list[str](), list[set[str]]()
    going: list[tuple[int, dict[str, Any]]] = []
    for number in range(TRIALS):
        fresh = Studies(spec, records)
        asked = kept.ask(noop, number, 0)
        with monkeypatch.context() as plain:
            plain.setattr(
                "infra.search.study.make_sampler", lambda options, seed, common: make_sampler(options, seed)
            )
            assert fresh.ask(noop, number, 0) == asked
        shared.append(set(kept._common["noop"]._search_space or {}))
        going.append(asked)
        if len(going) > 1:
            ended, params = going.pop(number % 2)
            kept.report("noop", ended, 1, params["x"])
            state = "complete" if params["optimizer"] == "sgd" else "pruned"
            kept.tell("noop", ended, state, [params["x"]] if state == "complete" else None)
        records += kept.journal.take_records()
    assert {"x", "optimizer", "momentum"} in shared
    assert shared[-1] == {"x", "optimizer"}


def test_journal_gives_optuna_each_record_once_after_a_replay() -> None:
    """Positions are those of all records: what was appended since the last reading, and nothing else."""
    journal = LedgerJournal(['{"n": 0}'])
    assert [log["n"] for log in journal.read_logs(0)] == [0]
    journal.append_logs([{"n": 1}, {"n": 2}])
    assert [log["n"] for log in journal.read_logs(1)] == [1, 2]
    journal.append_logs([{"n": 3}])
    assert [log["n"] for log in journal.read_logs(3)] == [3]
    assert journal.take_records() == ['{"n":1}', '{"n":2}', '{"n":3}']
