"""`velodrome inspect`: rows whose labels are likely wrong, by models that did not see them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from flows.explanation.new_folder import open_new_folder
from flows.inspection.folds import find_unjudged
from flows.inspection.result import Inspection
from flows.inspection.sources import check_fold_count, open_fold_source
from flows.inspection.suspects import are_informed, find_suspects, require_cleanlab
from flows.inspection.writing import PAGE, TABLE, describe_suspects, write_inspection
from infra.home import Home


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
