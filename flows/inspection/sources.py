"""Whose configuration a sweep's folds are trained with, on which rows, and where what is found is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flows.config.lookup import sweep_in_ledger
from flows.config.recorded_code import open_recorded_data
from flows.inspection.folds import FoldOutcome, FoldTraining, check_answers, check_folds, out_of_fold
from flows.inspection.kept_folds import FOLDER, FoldStore
from flows.sweeps.recorded_state import check_recorded_sweep
from infra.durations import parse_seconds_or_epochs
from infra.errors import WrongInput
from infra.home import Home, storage_root
from infra.ledger import views
from infra.ledger.ranking import rank_trials
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.names import spell_family
from infra.spec import Budget, derive_seed
from infra.storage.paths import sweep_folder
from infra.storage.sweep_key import note_key
from trainers.data.dataset import Dataset
from trainers.registry import load_reference
from trainers.types import Length

FOLDS, MOST_FOLDS = 5, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSource:
    """All that a sweep's folds need.

    Attributes:
        trial: whose configuration.
        rows: of training and validation, int64 [n].
        folds: how many.
    """

    row: SweepRow
    trial: TrialRow
    dataset: Dataset
    rows: npt.NDArray[np.int64]
    training: FoldTraining
    store: FoldStore
    folds: int

    @property
    def place(self) -> Path:
        """Where the probabilities are kept."""
        return self.store.place(self.folds)

    def train(self, say: Callable[[str], None]) -> tuple[npt.NDArray[np.float64], list[FoldOutcome]]:
        """The out-of-fold probabilities, float64 [n, C], and how each fold ended; what is kept is read."""
        outcomes: list[FoldOutcome] = []

        def note_outcome(outcome: FoldOutcome) -> None:
            outcomes.append(outcome)
            kept = ", as it was kept" if outcome.kept else ""
            say(f"fold {outcome.fold + 1} of {self.folds}: accuracy {outcome.accuracy:.4g}{kept}")

        chances = out_of_fold(self.training, self.dataset, self.rows, self.folds, self.store, note_outcome)
        return chances, outcomes


def check_fold_count(folds: int | None) -> None:
    """What can be refused without looking at the sweep."""
    if folds is not None and not 2 <= folds <= MOST_FOLDS:
        raise WrongInput(f"--folds must be from 2 to {MOST_FOLDS}", str(folds))


def open_fold_source(
    name: str,
    *,
    trial: int | None,
    family: str | None,
    folds: int | None,
    home: Home,
    say: Callable[[str], None],
) -> FoldSource:
    """Finds trial and data, and refuses all that can be refused before anything is trained.

    Args:
        folds: how many; None: as many as are kept of the trial, or five.

    Raises:
        WrongInput: no such sweep or trial, a task without classes, a family without probabilities, more folds
            than rows, another key, or code or data that are not the sweep's.
    """
    check_fold_count(folds)
    with sweep_in_ledger(name, home) as (ledger, row):
        chosen = _choose_trial(ledger, row, trial, family)
    check_recorded_sweep(row, home, families=[chosen.family])
    note_key(row.label, row.facts)
    dataset = _open_labelled(row, home)
    rows = np.sort(np.concatenate([dataset.splits["train"], dataset.splits["validation"]]))
    training = _fold_training(row, chosen, home)
    root = storage_root(home, row.spec) / sweep_folder(row.label) / FOLDER
    store = FoldStore(folder=root / _digest(row, chosen, training, dataset.row_hashes[rows]), say=say)
    kept = store.kept_counts() if folds is None else [folds]
    count = kept[-1] if kept else FOLDS
    check_folds(dataset, rows, count)
    check_answers(training, dataset)
    return FoldSource(
        row=row, trial=chosen, dataset=dataset, rows=rows, training=training, store=store, folds=count
    )


def _choose_trial(ledger: Ledger, row: SweepRow, number: int | None, family: str | None) -> TrialRow:
    family = spell_family(family)
    ranked = rank_trials(views.trials(ledger, row.id), row.spec.objectives)
    wanted = [
        trial
        for trial in ranked
        if trial.compression is None and family in (None, trial.family) and number in (None, trial.number)
    ]
    if not wanted:
        which = " ".join(filter(None, [family, None if number is None else f"#{number}"])) or "any trial"
        found, do = f"none for {which} in {row.label}", f"`velodrome status {row.label}` lists them"
        for trial in ranked:
            if trial.compression is not None and number == trial.number and family in (None, trial.family):
                made_of = trial.compression["number"]
                found, do = f"{which} of {row.label}, a smaller version of #{made_of}", f"name #{made_of}"
        raise WrongInput("folds need a complete trial, whose configuration they train", found, do)
    if number is not None and len(wanted) > 1:
        found = f"{len(wanted)} trials #{number} in {row.label}"
        raise WrongInput("--trial must name one trial", found, "give --family too")
    return wanted[0]


def _open_labelled(row: SweepRow, home: Home) -> Dataset:
    dataset = open_recorded_data(row, home)
    if dataset.task != "classification":
        raise WrongInput(
            "labels can be inspected where classes are learned", f"task {dataset.task} in {row.label}",
            "`velodrome new` tells of contradictions in other data",
        )  # fmt: skip
    return dataset


def _fold_training(row: SweepRow, trial: TrialRow, home: Home) -> FoldTraining:
    import torch

    spec = row.spec.family(trial.family)
    found = load_reference(spec.reference)
    if not isinstance(found, type):
        raise WrongInput(
            "folds need a family", f"{trial.family}, a plain function",
            "make it a Family class, or name another with --family",
        )  # fmt: skip
    family = found(spec.options).of_trial(trial.params)
    if family.options.teacher is not None:
        raise WrongInput(
            "folds must be trained without a teacher",
            f"{trial.family}, whose teacher was trained on rows that each fold leaves out",
            "name another with --family",
        )
    seconds, epochs = parse_seconds_or_epochs(spec.checkpoint_every)
    return FoldTraining(
        family=family,
        params=family.complete(trial.params),
        seed=derive_seed(row.spec.seed, row.spec.name, "inspect", 0),
        length=_length(spec.budget, trial),
        device="cuda:0" if torch.cuda.is_available() and not family.one_process else "cpu",
        cache=home.cache,
        checkpoint_seconds=seconds,
        checkpoint_epochs=epochs,
        about={"sweep": row.label, "family": trial.family, "number": trial.number},
    )


def _length(budget: Budget, trial: TrialRow) -> Length:
    """Up to the trial's kept epoch: to choose one here would let the labels in question choose the model."""
    reports = max(1, trial.epoch or trial.epochs)
    if budget.steps is None:
        return Length(epochs=reports)
    every = budget.report_every or budget.steps
    return Length(steps=min(budget.steps, reports * every), report_every=every)


def _digest(row: SweepRow, trial: TrialRow, training: FoldTraining, hashes: npt.NDArray[np.uint64]) -> str:
    """Of all that decides the probabilities, but for the number of folds."""
    spec, length = row.spec.family(trial.family), training.length
    facts = {
        "family": spec.reference,
        "source": spec.source_hash,
        "options": spec.options,
        "params": training.params,
        "trial": trial.params,
        "seed": training.seed,
        "length": [length.epochs, length.steps, length.report_every],
        "fingerprint": row.fingerprint,
        "rows": hashlib.sha256(np.ascontiguousarray(hashes).tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]
