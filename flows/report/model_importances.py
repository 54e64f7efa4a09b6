"""Which columns, pixels or words the best model of each family answers from, over validation's first rows."""

from __future__ import annotations

import base64
import csv
import io
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flows.config.recorded_code import find_code_of_row, open_recorded_data
from flows.explanation.pictures import encode_png, heat_map
from infra.home import Home, storage_root
from infra.ledger.ranking import rank_trials
from infra.ledger.rows import SweepRow, TrialRow
from infra.mirror import fetch
from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from trainers.explaining.explainer import Explained, Explainer
    from trainers.types import Array

ROWS, ROWS_AT_ONCE, BUDGET_S = 64, 8, 5.0
SHOWN = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelImportances:
    """One model's.

    Attributes:
        features: columns or words with the mean size of their importances, the largest first; none of images.
        picture: of images the mean size at each pixel, as base64 of a PNG; else empty.
        how: method, unit, baseline and rows, in words; why there is nothing where there is nothing.
        kind: of rows; empty where there is nothing.
    """

    family: str
    number: int
    how: str
    kind: str = ""
    features: tuple[tuple[str, float], ...] = ()
    picture: str = ""


def explain_best_models(
    row: SweepRow, trials: Sequence[TrialRow], home: Home, say: Callable[[str], None] | None
) -> tuple[ModelImportances, ...]:
    """Of each family with a kept model; within some seconds a family."""
    ranked = rank_trials([trial for trial in trials if trial.model], row.spec.objectives)
    best = {trial.family: trial for trial in reversed(ranked)}
    if not best or row.fingerprint == "none":
        return ()
    if say is not None:
        say("explaining the best model of each family")
    find_code_of_row(row)
    return tuple(_explain_model(row, trial, home) for trial in best.values())


def importances_file(found: ModelImportances) -> tuple[str, bytes]:
    """An ending and the content: a table of features, or a picture; nothing where nothing was explained."""
    if found.picture:
        return "png", base64.b64decode(found.picture)
    if not found.features:
        return "", b""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([("word" if found.kind == "text" else "column", "mean_absolute"), *found.features])
    return "csv", table.getvalue().encode()


def _explain_model(row: SweepRow, trial: TrialRow, home: Home) -> ModelImportances:
    from trainers.bundle.bundle import load_bundle
    from trainers.explaining.explainer import Explainer

    try:
        folder = storage_root(home, row.spec) / str(trial.model)
        fetch(folder, exact=True)
        predictor = load_bundle(folder)
        explainer = Explainer(predictor)
        found = _explain_rows(explainer, _validation_rows(row, home))
    except InputError as error:
        return ModelImportances(
            family=trial.family, number=trial.number, how=f"not explained: {error.must}; found {error.found}"
        )
    used = sum(len(made.answers) for made in found)
    how = (
        f"{explainer.method} over {used} rows of validation, in units of the {explainer.unit}; "
        f"compared with {explainer.baseline}"
    )
    features, picture = _sum_up(explainer, found)
    return ModelImportances(
        family=trial.family, number=trial.number, how=how, kind=explainer.kind, features=features,
        picture=picture,
    )  # fmt: skip


def _validation_rows(row: SweepRow, home: Home) -> pd.DataFrame:
    from trainers.data.examples import raw_rows

    dataset = open_recorded_data(row, home)
    if dataset.fingerprint != row.fingerprint:
        raise InputError("the data must be what the sweep began with", dataset.fingerprint[:12])
    return raw_rows(dataset, dataset.splits["validation"][:ROWS])


def _explain_rows(explainer: Explainer, rows: pd.DataFrame) -> list[Explained]:
    """Explanations of the first rows, as many as the time allows."""
    began = time.monotonic()
    found: list[Explained] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        found.append(explainer.explain(rows.iloc[start : start + ROWS_AT_ONCE]))
        if time.monotonic() - began > BUDGET_S:
            break
    return found


def _sum_up(explainer: Explainer, found: Sequence[Explained]) -> tuple[tuple[tuple[str, float], ...], str]:
    """The features, or the picture."""
    if explainer.kind == "image":
        size: Array = np.sum([np.abs(made.importances).sum(axis=0) for made in found], axis=0)
        return (), base64.b64encode(encode_png(heat_map(explainer.as_looked_at(size)))).decode()
    sizes: defaultdict[str, list[float]] = defaultdict(list)
    for made in found:
        for at, parts in enumerate(made.importances):
            names = explainer.columns
            if made.words is not None and made.texts is not None:
                text = made.texts[at]
                names = [text[word.start : word.end].lower() for word in made.words[at]]
            for name, part in zip(names, parts, strict=True):
                sizes[name].append(abs(float(part)))
    ranked = sorted(sizes.items(), key=lambda pair: (-sum(pair[1]), pair[0]))
    return tuple((name, float(np.mean(parts))) for name, parts in ranked[:SHOWN]), ""
