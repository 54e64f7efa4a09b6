"""`velodrome inspect`: rows whose labels are likely wrong, by models that did not see them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.config.lookup import open_sweep
from flows.explanation.new_folder import open_new_folder
from flows.inspection.folds import FoldTraining, out_of_fold
from flows.inspection.result import Inspection
from flows.inspection.suspects import find_suspects, require_cleanlab
from flows.inspection.writing import PAGE, TABLE, describe_suspects, write_inspection
from flows.sweeps.recorded_state import check_recorded_sweep
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.ranking import rank_trials
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.names import spell_family
from infra.spec import Budget, derive_seed
from trainers.registry import load_reference
from trainers.types import Length

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset

FOLDS, MOST_FOLDS = 5, 50


def inspect(
    name: str,
    *,
    trial: int | None = None,
    family: str | None = None,
    folds: int = FOLDS,
    out: Path | str | None = None,
    overwrite: bool = False,
    home: Home | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Inspection:
    """Trains a trial's configuration once a fold, in this process, and lists the rows whose labels the models
    that did not see them contradict.

    Args:
        name: the sweep's name or its file.
        trial: whose configuration; by default the best one's.
        family: only trials of this family.
        folds: how many models; each is trained without its share of the rows.
        out: a folder that is made; by default NAME-suspects here.
        overwrite: also where an inspection of before is there.
        say: told of each fold.

    Raises:
        WrongInput: no such sweep or trial, a task without labels, a plain function, or code or data that are
            not the sweep's.
        StorageUnavailable: the folder cannot be written.
    """
    began, place = time.monotonic(), home or Home.from_environment()
    if not 2 <= folds <= MOST_FOLDS:
        raise WrongInput(f"--folds must be from 2 to {MOST_FOLDS}", str(folds))
    require_cleanlab()
    ledger, row = open_sweep(name, place)
    try:
        chosen = _choose_trial(ledger, row, trial, family)
    finally:
        ledger.close()
    check_recorded_sweep(row, place, families=[chosen.family])
    dataset = _open_labelled(row, place)
    rows = np.sort(np.concatenate([dataset.splits["train"], dataset.splits["validation"]]))
    accuracy: list[float] = []

    def told(fold: int, right: float) -> None:
        accuracy.append(right)
        say(f"fold {fold + 1} of {folds}: accuracy {right:.4g}")

    where = Path(out) if out is not None else Path(f"{row.label.replace('@', '-')}-suspects")
    with open_new_folder(where, what="inspection", files=(PAGE, TABLE), overwrite=overwrite) as folder:
        chances = out_of_fold(_fold_training(row, chosen, place), dataset, rows, folds, told)
        worst = find_suspects(dataset.labels()[rows], chances)
        made = Inspection(
            sweep=row.label, family=chosen.family, number=chosen.number, accuracy=tuple(accuracy),
            rows=len(rows), suspects=describe_suspects(dataset, rows, chances, worst), out=str(where),
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        write_inspection(folder, made, dataset, rows[worst])
    return made


def _choose_trial(ledger: Ledger, row: SweepRow, number: int | None, family: str | None) -> TrialRow:
    family = spell_family(family)
    ranked = rank_trials(views.trials(ledger, row.id), row.spec.objectives)
    wanted = [
        trial
        for trial in ranked
        if trial.compressed is None and family in (None, trial.family) and number in (None, trial.number)
    ]
    if not wanted:
        which = " ".join(filter(None, [family, None if number is None else f"#{number}"])) or "any trial"
        raise WrongInput(
            "an inspection needs a complete trial, whose configuration it trains",
            f"none for {which} in {row.label}",
            f"`velodrome status {row.label}` lists them",
        )
    if number is not None and len(wanted) > 1:
        found = f"{len(wanted)} trials #{number} in {row.label}"
        raise WrongInput("--trial must name one trial", found, "give --family too")
    return wanted[0]


def _open_labelled(row: SweepRow, place: Home) -> Dataset:
    from trainers.data.sources.opening import open_dataset

    base = Path(row.facts.get("base", "."))
    dataset = open_dataset(row.spec.data, base=base, cache=place.cache, recorded=row.fingerprint)
    if dataset.task != "classification":
        raise WrongInput(
            "labels can be inspected where classes are learned", f"task {dataset.task} in {row.label}",
            "`velodrome new` tells of contradictions in other data",
        )  # fmt: skip
    return dataset


def _fold_training(row: SweepRow, trial: TrialRow, place: Home) -> FoldTraining:
    import torch

    spec = row.spec.family(trial.family)
    found = load_reference(spec.reference)
    if not isinstance(found, type):
        raise WrongInput(
            "an inspection needs a family", f"{trial.family}, a plain function",
            "make it a Family class, or name another with --family",
        )  # fmt: skip
    family = found(spec.options).of_trial(trial.params)
    return FoldTraining(
        family=family,
        params=family.complete(trial.params),
        seed=derive_seed(row.spec.seed, row.spec.name, "inspect", 0),
        length=_length(spec.budget, trial),
        device="cuda:0" if torch.cuda.is_available() and not family.one_process else "cpu",
        cache=place.cache,
    )


def _length(budget: Budget, trial: TrialRow) -> Length:
    """Up to the trial's kept epoch: to choose one here would let the labels in question choose the model."""
    reports = max(1, trial.epoch or trial.epochs)
    if budget.steps is None:
        return Length(epochs=reports)
    every = budget.report_every or budget.steps
    return Length(steps=min(budget.steps, reports * every), report_every=every)
