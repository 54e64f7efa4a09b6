"""What a sampler answers depends on the study's content alone."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
import pytest

from infra.search.samplers import make_sampler
from infra.search.study import LedgerJournal, Studies, read_studies
from infra.spec import FamilySpec, Objective
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


def finish_trials(studies: Studies, asked: FamilySpec, count: int) -> None:
    for number in range(count):
        study_number, _ = studies.ask(asked, number, 1)
        studies.report("noop", study_number, 1, float(number % 7))
        pruned = studies.should_prune("noop", study_number)
        value = None if pruned else [float(number)]
        studies.tell("noop", study_number, "pruned" if pruned else "complete", value)


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_trials_of_a_replayed_study_share_names_and_distributions_and_are_never_copied_together(
    pruner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be ten thousand: a copy of all takes seconds, and their names are most of what they weigh."""
    asked = family(trials=20, sampler={"name": "random"}, pruner={"name": pruner})
    spec, real, copied = sweep(asked), copy.deepcopy, list[int]()
    first = Studies(spec, ())
    finish_trials(first, asked, 16)
    records = first.journal.take_records()

    def note(found: Any, *more: Any) -> Any:
        if isinstance(found, list):
            copied.append(len(found))
        return real(found, *more)

    monkeypatch.setattr(copy, "deepcopy", note)
    studies = Studies(spec, records)
    study = studies._studies["noop"]
    trials = study.get_trials(deepcopy=False)
    for name in asked.space["parameters"]:
        keys = {id(key) for t in trials for found in (t.params, t.distributions) for key in found
                if key == name["name"]}  # fmt: skip
        made = {id(t.distributions[name["name"]]) for t in trials if name["name"] in t.distributions}
        assert (len(keys), len(made)) == (1, 1)
    assert studies.add_trial(asked, {"learning_rate": 0.01, "optimizer": "adam"}, [0.5]) == 16
    study_number, _ = studies.ask(asked, 16, 1)
    studies.report("noop", study_number, 1, 0.5)
    studies.should_prune("noop", study_number)
    studies.tell("noop", study_number, "complete", [0.5])
    fresh = study.get_trials(deepcopy=False)[-1]
    assert {id(d) for d in fresh.distributions.values()} <= {
        id(d) for t in trials for d in t.distributions.values()
    }
    assert copied == []


@pytest.mark.parametrize(
    ("state", "objective", "values"),
    [
        ("complete", [0.5], [0.5]),
        ("failed", [0.5], None),
        ("failed", None, None),
        ("pruned", [0.9], [0.2]),  # the last report's, as with Optuna's own loop
        ("pruned", None, [0.2]),
    ],
)
def test_ended_trial_has_its_objective_where_it_is_complete_and_its_last_report_where_pruned(
    state: str, objective: list[float] | None, values: list[float] | None
) -> None:
    asked = family(pruner={"name": "median"})
    studies = Studies(sweep(asked), ())
    study_number, _ = studies.ask(asked, 0, 1)
    for epoch, value in ((1, 0.4), (2, 0.2)):
        studies.report("noop", study_number, epoch, value)
    studies.tell("noop", study_number, state, objective)
    (told,) = studies._studies["noop"].get_trials()
    assert (told.state.name.lower(), told.values) == ({"failed": "fail"}.get(state, state), values)


def test_pruned_trial_that_reported_nothing_has_no_value() -> None:
    asked = family()
    studies = Studies(sweep(asked), ())
    study_number, _ = studies.ask(asked, 0, 1)
    studies.tell("noop", study_number, "pruned", None)
    (told,) = studies._studies["noop"].get_trials()
    assert (told.state.name, told.values) == ("PRUNED", None)


@pytest.mark.parametrize(
    ("pruner", "goals", "kept"), [("asha", 1, {1: 0.4}), ("none", 1, {}), ("asha", 2, {})]
)
def test_reports_are_in_the_study_where_a_pruner_reads_them(
    pruner: str, goals: int, kept: dict[int, float]
) -> None:
    """Of several goals none does."""
    asked = family(pruner={"name": pruner})
    objectives = tuple(Objective(metric=f"m{n}", direction="maximize") for n in range(goals))
    studies = Studies(sweep(asked, objectives=objectives), ())
    study_number, _ = studies.ask(asked, 0, 1)
    studies.report("noop", study_number, 1, 0.4)
    (told,) = studies._studies["noop"].get_trials()
    assert told.intermediate_values == kept


def test_trial_of_elsewhere_is_added_where_it_fits_the_space() -> None:
    asked = family()
    studies = Studies(sweep(asked), ())
    fits = {"learning_rate": 0.01, "optimizer": "sgd", "momentum": 0.5}
    assert studies.add_trial(asked, fits, [0.5]) == 0
    assert studies.add_trial(asked, {**fits, "learning_rate": 7.0}, [0.5]) is None
    assert studies.add_trial(asked, {"learning_rate": 0.01, "optimizer": "adam"}, [0.25]) == 1
    found = studies._studies["noop"].get_trials()
    assert [(trial.state.name, trial.value) for trial in found] == [("COMPLETE", 0.5), ("COMPLETE", 0.25)]
    assert found[0].params["learning_rate"] == 0.01


def test_trial_that_waits_may_go_on_by_the_rule_of_its_pruner_alone() -> None:
    for pruner, on in (({"name": "asha", "reduction": 2, "resume": True}, True), ({"name": "median"}, False)):
        asked = family(pruner=pruner)
        studies = Studies(sweep(asked), ())
        finish_trials(studies, asked, 8)
        assert studies.may_go_on("noop", 1, 9.0) is on
        assert studies.may_go_on("noop", 1, -9.0) is False


@pytest.mark.parametrize("reading", [False, True])
def test_optuna_says_nothing_of_its_own(reading: bool) -> None:
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.INFO)
        spec = sweep(family())
        assert read_studies(spec, ()) == {} if reading else Studies(spec, ())
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    finally:
        optuna.logging.set_verbosity(before)


def test_read_studies_are_those_of_families_that_were_asked_for_something() -> None:
    """A family that a sweep got later has none yet."""
    spec, asked = sweep(family()), family()
    studies = Studies(spec, ())
    finish_trials(studies, asked, 2)
    more = sweep(family(), family("later"))
    found = read_studies(more, studies.journal.take_records())
    assert {name: len(study.get_trials()) for name, study in found.items()} == {"noop": 2}


def test_journal_gives_optuna_each_record_once_after_a_replay() -> None:
    """Positions are those of all records: what was appended since the last reading, and nothing else."""
    journal = LedgerJournal(['{"n": 0}'])
    assert [log["n"] for log in journal.read_logs(0)] == [0]
    journal.append_logs([{"n": 1}, {"n": 2}])
    assert [log["n"] for log in journal.read_logs(1)] == [1, 2]
    journal.append_logs([{"n": 3}])
    assert [log["n"] for log in journal.read_logs(3)] == [3]
    assert journal.take_records() == ['{"n":1}', '{"n":2}', '{"n":3}']
