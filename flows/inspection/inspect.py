"""`velodrome inspect`: rows whose labels are likely wrong, by models that did not see them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flows.explanation.new_folder import open_new_folder
from flows.inspection.folds import find_unjudged
from flows.inspection.result import Inspection
from flows.inspection.sources import check_fold_count, open_fold_source
from flows.inspection.writing import PAGE, TABLE, describe_suspects, write_inspection
from infra.errors import WrongInput
from infra.home import Home

LEAST_ERRORS = 3.0


def inspect(
    name: str,
    *,
    trial: int | None = None,
    family: str | None = None,
    folds: int | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    home: Home | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Inspection:
    """Lists the rows whose labels the models that did not see them contradict.

    Their probabilities are those that `confirm` with `folds` made of the same trial; what is missing of them
    is trained here, in this process, and kept.

    Args:
        name: the sweep's name or its file.
        trial: whose configuration; by default the best one's.
        family: only trials of this family.
        folds: how many models; each is trained without its share of the rows. By default as many as
            `confirm` made, or five.
        out: a folder that is made; by default NAME-suspects here.
        overwrite: also where an inspection of before is there.
        say: told of each fold.

    Raises:
        WrongInput: no such sweep or trial, a task without labels, a family without probabilities, another
            key, or code or data that are not the sweep's.
        StorageUnavailable: the folder cannot be written.
    """
    began, place = time.monotonic(), home or Home.from_environment()
    check_fold_count(folds)
    require_cleanlab()
    source = open_fold_source(name, trial=trial, family=family, folds=folds, home=place, say=say)
    label, dataset, rows = source.row.label, source.dataset, source.rows
    where = Path(out) if out is not None else Path(f"{label.replace('@', '-')}-suspects")
    with open_new_folder(where, what="inspection", files=(PAGE, TABLE), overwrite=overwrite) as folder:
        chances, outcomes = source.train(say)
        labels = dataset.labels()[rows]
        unjudged = find_unjudged(dataset, rows, source.folds)
        worst = find_suspects(labels, chances)
        worst = worst[~unjudged[worst]]
        made = Inspection(
            sweep=label, family=source.trial.family, number=source.trial.number,
            accuracy=tuple(outcome.accuracy for outcome in outcomes),
            informed=are_informed(labels, chances),
            trained=sum(not outcome.kept for outcome in outcomes), unjudged=int(unjudged.sum()),
            rows=len(rows),
            suspects=describe_suspects(dataset, rows, chances, worst), out=str(where),
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        write_inspection(folder, made, dataset, rows[worst])
    return made


def find_suspects(labels: npt.NDArray[np.int64], chances: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Places of the suspect rows, the worst first.

    Args:
        labels: class indices, int64 [n].
        chances: out-of-fold probabilities, float64 [n, C].
    """
    require_cleanlab()
    from cleanlab.filter import find_label_issues

    # classes without a row have no threshold that could be estimated
    present, places = np.unique(labels, return_inverse=True)
    known = chances[:, present]
    known = known / np.maximum(known.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
    found = find_label_issues(places, known, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(found, np.int64)


def are_informed(labels: npt.NDArray[np.int64], chances: npt.NDArray[np.float64]) -> bool:
    """Whether a row's own label is likelier to the models than that label is on the whole, by more than three
    standard errors: otherwise they have learned nothing of the labels, however rare some are.

    Args:
        labels, chances: as for `find_suspects`.
    """
    gained = chances[np.arange(len(labels)), labels] - chances.mean(0)[labels]
    return bool(gained.mean() > LEAST_ERRORS * gained.std() / np.sqrt(len(labels)))


def require_cleanlab() -> None:
    """Says how to get cleanlab where it is not."""
    try:
        import cleanlab.filter  # noqa: F401
    except ImportError as error:
        do = "pip install 'velodrome[inspect]'"
        raise WrongInput("suspect labels need cleanlab", str(error), do) from error
