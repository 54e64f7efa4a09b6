"""`velodrome confirm`: the best trials again on fresh seeds, ranked by validation, tested once.

The search took the best of many noisy numbers, and that number flatters. Here each candidate is trained on
the same few seeds, which none of them was chosen on; the ranking is by the mean of the validation values,
and the test score stands beside it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from flows.config.lookup import sweep_in_ledger
from flows.confirmation.folds import confirm_folds, refuse_beside_folds
from flows.confirmation.result import Confirmation, ConfirmedRow, Scores
from flows.confirmation.runs import ROLE, confirmation_origin
from flows.sweeps.ownership import commit_as_owner
from flows.sweeps.recorded_state import check_recorded_sweep
from flows.sweeps.session import run_session
from flows.terminal.formatting import number
from flows.terminal.next_command import next_command
from infra.errors import RefusedError, WrongInput
from infra.home import Home, storage_root
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.ranking import rank_trials
from infra.ledger.requeue import requeue_trial
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.spec import derive_seed
from infra.tracking.run_notes import note_confirmations

SEEDS, MOST_SEEDS = 5, 100


def confirm(
    name: str,
    *,
    top: int | None = None,
    each_family: bool = False,
    seeds: int | None = None,
    folds: int | None = None,
    trial: int | None = None,
    family: str | None = None,
    address: str | None = None,
    home: Home | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Confirmation:
    """Trains the best trials of a sweep again on fresh seeds, ranks them by validation, and tests them.

    What was confirmed before is not trained again: the same call resumes, more seeds or candidates add to it,
    and what failed is tried again. With `folds` one trial's configuration is trained that often instead, each
    time without a share of the rows, in this process, for `inspect`; the test part is not read.

    Args:
        name: the sweep's name or its file.
        top: the best so many trials over all families.
        each_family: each family's best instead (the default where neither is given).
        seeds: how many, the same for all candidates; by default 5.
        folds: how many models for `inspect`, in place of candidates and seeds.
        trial: with `folds`, whose configuration; by default the best one's.
        family: with `folds`, only trials of this family.
        say: told of each fold.

    Raises:
        WrongInput: no such sweep, nothing or too little to confirm, no test part, a task or family without
            probabilities for `folds`, another code or other data than the search had, or the options exclude
            each other.
        RefusedError: no confirmation succeeded.
        OwnedElsewhere, ClusterUnavailable, InterruptedCommand: as `sweep`.
    """
    place = home or Home.from_environment()
    if folds is not None:
        refuse_beside_folds(top, each_family, seeds, address)
        return confirm_folds(name, folds=folds, trial=trial, family=family, home=place, say=say)
    if trial is not None or family is not None:
        alone = "--trial" if trial is not None else "--family"
        raise WrongInput("--trial and --family must stand beside --folds", f"{alone} without it")
    seeds = SEEDS if seeds is None else seeds
    check_options(top, each_family, seeds)
    with sweep_in_ledger(name, place) as (ledger, row):
        _check_test_part(row)
        chosen = _candidates(ledger, row, top)
        check_recorded_sweep(row, place, families={trial.family for trial in chosen})
        _enqueue_confirmations(ledger, row, chosen, seeds)
        if any(not trial.has_ended for trial in views.trials(ledger, row.id, role=ROLE)):
            run_session(ledger, row, place, address=address, role=ROLE)
        found = _collect_result(ledger, row, chosen, seeds, place)
        return replace(found, note=describe_confirmed(found, row, place))


def check_options(top: int | None, each_family: bool, seeds: int) -> None:
    """What can be refused without looking at the sweep."""
    if top is not None and each_family:
        raise WrongInput("confirm takes --top or --each-family", "both", "leave one out")
    if top is not None and top < 1:
        raise WrongInput("--top must be at least 1", str(top))
    if not 1 <= seeds <= MOST_SEEDS:
        raise WrongInput(f"--seeds must be from 1 to {MOST_SEEDS}", str(seeds))


def _check_test_part(row: SweepRow) -> None:
    parts = (row.facts.get("data") or {}).get("parts") or {}
    if parts.get("test") == 0:
        raise WrongInput(
            "the data must have a test part to be confirmed on",
            f"no rows in {row.label}'s",
            "give data.split a share for test in a new version (`velodrome sweep FILE --new`)",
        )


def _candidates(ledger: Ledger, row: SweepRow, top: int | None) -> list[TrialRow]:
    trained = [trial for trial in views.trials(ledger, row.id) if not trial.compression]
    best = rank_trials(trained, row.spec.objectives)
    if not best:
        raise WrongInput(
            "a sweep must have complete trials to be confirmed",
            f"none in {row.label}",
            f"`{next_command(f'status {row.label}', row.spec.ledger)}` tells how its trials ended",
        )
    if top is None:
        first = {trial.family: trial for trial in reversed(best)}
        return [trial for trial in best if first[trial.family] is trial]
    if top > len(best):
        raise WrongInput(
            f"--top must be at most the complete trials of {row.label}, {len(best)}",
            str(top),
            f"`{next_command(f'extend {row.label} --trials +N', row.spec.ledger)}` adds trials",
        )
    return best[:top]


def confirmation_seeds(row: SweepRow, count: int) -> list[int]:
    """The fresh seeds of a sweep's confirmations, the same for all candidates; more seeds extend the list."""
    return [derive_seed(row.spec.seed, row.spec.name, ROLE, index) for index in range(count)]


def _enqueue_confirmations(ledger: Ledger, row: SweepRow, chosen: Sequence[TrialRow], seeds: int) -> None:
    """Writes the confirmations that are to be trained, and counts the reading of the test split."""
    now, batch = time.time(), WriteBatch()
    for trial in _pending_confirmations(row, views.trials(ledger, row.id, role=ROLE), chosen, seeds):
        again = trial.state == "failed"
        if again:
            requeue_trial(trial, None)
        else:
            trial.created_at = now + len(batch.events) * 1e-6
        told = {"params": trial.params, "origin": trial.origin}
        batch.add_event("retry" if again else "asked", now, {} if again else told, trial)
    if batch.is_empty:
        return
    if row.fingerprint != "none":  # own code that reads its own data has no test split of ours
        batch.add_event("test-read", now, {"why": "confirm", "count": len(batch.trials)})
    with commit_as_owner(ledger, row) as commit:
        commit(batch)


def _pending_confirmations(
    row: SweepRow, known: Sequence[TrialRow], chosen: Sequence[TrialRow], seeds: int
) -> Iterator[TrialRow]:
    """The confirmations that are not there yet, and those that failed: whoever asks again wants them."""
    there = {confirmation_origin(trial): trial for trial in known}
    count = Counter(trial.family for trial in known)
    for trial in chosen:
        for index, seed in enumerate(confirmation_seeds(row, seeds)):
            present = there.get((trial.family, trial.number, index))
            if present is None:
                yield TrialRow(
                    role=ROLE, family=trial.family, number=count[trial.family],
                    params=trial.params, seed=seed,
                    origin={"number": trial.number, "seed_index": index}, resources=trial.resources,
                )  # fmt: skip
                count[trial.family] += 1
            elif present.state == "failed":
                yield present


def _collect_result(
    ledger: Ledger, row: SweepRow, chosen: Sequence[TrialRow], seeds: int, place: Home
) -> Confirmation:
    from flows.confirmation.statistics import build_confirmation

    found = build_confirmation(
        ledger, row, chosen, confirmation_seeds(row, seeds), storage_root(place, row.spec)
    )
    if not found.rows:
        runs = views.trials(ledger, row.id, role=ROLE)
        reasons = sorted({str(trial.reason) for trial in runs if trial.reason})
        raise RefusedError(
            "a confirmation must succeed",
            "; ".join(reasons) or "none ended",
            f"what they printed is in {place.logs / row.label}",
        )
    return found


def describe_confirmed(found: Confirmation, row: SweepRow, home: Home) -> str:
    """Writes the scores and their intervals; why that did not succeed, else nothing."""
    lines = {(one.family, one.number): _describe(found.metric, one) for one in found.rows}
    return note_confirmations(row, home, lines)


def _describe(metric: str, one: ConfirmedRow) -> str:
    name = metric.rpartition("/")[2]
    count = len(one.validation.values)
    scores = ((f"val/{name}", one.validation), (metric, one.test))
    said = ", ".join(f"**{of} {_score_text(score)}**" for of, score in scores if score.values)
    return f"on {count} fresh seed{'' if count == 1 else 's'}: {said}"


def _score_text(scores: Scores) -> str:
    mean = number(scores.mean)
    if scores.interval is None:
        return mean
    low, high, level = scores.interval.low, scores.interval.high, scores.interval.confidence
    return f"{mean} ({level:.0%} {number(low)} to {number(high)} over {scores.over})"
