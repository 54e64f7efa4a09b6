"""`velodrome explain`: which pixels, words or columns a model's answers came from."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from flows.explanation.new_folder import open_new_folder
from flows.explanation.result import Explanation, FeatureImportance
from flows.explanation.rows import SHOWN_ROWS, FeatureMean, RowWriter, ShownRow, ranked_means, row_writer
from flows.inference.model_lookup import choose_model, fetch_artifact
from flows.inference.predict import choose_device, match_fields, read_as_model_does
from infra.errors import WrongInput
from infra.home import Home
from infra.predicting.format import BadValue, InputFormat, PartSizes
from infra.predicting.parquet_and_images import open_input
from infra.serving.artifact import load_artifact, predictor_of
from infra.serving.model_schema import Field
from trainers.bundle.frames import as_frame
from trainers.errors import InputError
from trainers.explaining.attributions import Method

if TYPE_CHECKING:
    import pandas as pd

    from flows.explanation.result import Explanation
    from trainers.bundle.predictor import Predictor
    from trainers.explaining.explainer import Explainer

SHOWN_FEATURES = 60

ROWS, ROWS_AT_ONCE = 200, 32
TOP = 20
PAGE, TABLE = "index.html", "attributions.csv"
MOST_GAP = 0.01
METHODS: tuple[Method, ...] = ("integrated-gradients", "occlusion", "shap")


def explain(
    model: str,
    input: Path | str,
    *,
    out: Path | str,
    method: str | None = None,
    answer: str | None = None,
    rows: int = ROWS,
    overwrite: bool = False,
    home: Home | None = None,
    say: Callable[[str], None] = lambda text: None,
    advanced: Callable[[int, int], None] = lambda rows, size: None,
) -> Explanation:
    """Writes where a model's answers for an input's first rows come from.

    Args:
        model: as `predict` takes it.
        input: as `predict` takes it.
        out: a folder that is made.
        method: `integrated-gradients` (the default) or `occlusion`; of boosted trees `shap`.
        answer: a class or target to explain in every row; by default the class that each row gets.
        rows: how many at most.
        overwrite: also where the folder is there already.
        say: told of warnings.
        advanced: told after each piece: rows so far, and about how many bytes they took.

    Raises:
        WrongInput: no such model or input, one that is not explained, a row that cannot be read.
        StorageUnavailable: the folder cannot be written.
    """
    from trainers.explaining.explainer import Explainer

    began, place = time.monotonic(), home or Home.from_environment()
    if method is not None and method not in METHODS:
        raise WrongInput(f"--method must be one of {', '.join(METHODS)}", repr(method))
    chosen_method = next((known for known in METHODS if known == method), None)
    kind = open_input(Path(input))
    chosen = choose_model(model, place)
    artifact = fetch_artifact(chosen, place)
    loaded = load_artifact(artifact, device=choose_device())
    predictor = predictor_of(artifact.key, loaded)
    explainer = Explainer(predictor, method=chosen_method, answer=answer)
    kind = read_as_model_does(kind, loaded, say)
    fields = match_fields(kind, kind.columns(), loaded)
    frames = _frames(kind, fields, predictor, rows)
    with open_new_folder(Path(out), what="explanation", files=(PAGE, TABLE), overwrite=overwrite) as folder:
        written = _write_rows(explainer, frames, folder, advanced)
        made = _sum_up(artifact.key, kind, Path(out), explainer, written, chosen.warning)
        made = replace(made, seconds=round(time.monotonic() - began, 3))
        _write_page(folder, made, written)
    if made.warning:
        say(f"warning: {made.warning}")
    return made


@dataclass(slots=True, kw_only=True)
class _Written:
    """What has been written so far."""

    writer: RowWriter
    shown: list[ShownRow]
    rows: int = 0
    worst_gap: float | None = None


def _frames(
    kind: InputFormat, fields: list[Field], predictor: Predictor, rows: int
) -> Iterator[tuple[pd.DataFrame, int]]:
    """Rows as the model takes them, piece by piece, and about how many bytes they took."""
    left = rows
    for part in kind.parts(PartSizes(rows=ROWS_AT_ONCE)):
        for start in range(0, len(part), ROWS_AT_ONCE):
            piece = part.slice(start, min(left, ROWS_AT_ONCE))
            try:
                frame = kind.frame(piece, fields)
            except BadValue as error:
                raise WrongInput(
                    f"the column {error.column} must hold numbers",
                    f"{ascii(error.value)[:60]} in row {rows - left + error.row + 1} of {kind.path}",
                ) from None
            yield as_frame(frame, predictor.columns, predictor.document["state"].get("shape")), piece.nbytes
            left -= len(piece)
            if left <= 0:
                return


def _write_rows(
    explainer: Explainer,
    frames: Iterator[tuple[pd.DataFrame, int]],
    folder: Path,
    advanced: Callable[[int, int], None],
) -> _Written:
    size = 0
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as table:
        written = _Written(writer=row_writer(explainer, folder, table), shown=[])
        table.write(",".join(map(_csv_field, written.writer.headings)) + "\n")
        for frame, taken in frames:
            try:
                found = explainer.explain(frame)
            except InputError as error:
                where = f"rows {written.rows + 1} to {written.rows + len(frame)}"
                raise WrongInput(error.must, f"{error.found} in {where}", error.do) from error
            for row in written.writer.rows(frame, found, written.rows + 1):
                if len(written.shown) < SHOWN_ROWS:
                    written.shown.append(row)
            if found.gaps is not None:
                written.worst_gap = max(written.worst_gap or 0.0, float(found.gaps.max()))
            written.rows += len(frame)
            size += taken
            advanced(written.rows, size)
    if not written.rows:
        raise WrongInput("the input must have at least one row", "none")
    written.writer.finish(folder)
    return written


def _sum_up(
    key: str, kind: InputFormat, out: Path, explainer: Explainer, written: _Written, warning: str
) -> Explanation:
    gap = written.worst_gap
    said = [warning] if warning else []
    if gap is not None and gap > MOST_GAP:
        said.append(f"importances miss the answer's {explainer.unit} by {gap:.1%} in one row")
    features = [
        FeatureImportance(
            name=name,
            rows=mean.count,
            mean_absolute=mean.absolute / mean.count,
            mean=mean.signed / mean.count,
        )
        for name, mean in ranked_means(written.writer.means)[:TOP]
    ]
    return Explanation(
        model=key, input=str(kind.path), out=str(out), kind=explainer.kind, method=explainer.method,
        unit=explainer.unit, baseline=explainer.baseline, rows=written.rows, worst_gap=gap,
        features=tuple(features), seconds=0.0, warning="; ".join(said),
    )  # fmt: skip


def _write_page(folder: Path, made: Explanation, written: _Written) -> None:
    picture = folder / "importance.png"
    total = picture.read_bytes() if picture.exists() else None
    page = render_explanation(made, ranked_means(written.writer.means), written.shown, total)
    (folder / PAGE).write_text(page, encoding="utf-8")


def _csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text


def render_explanation(
    head: Explanation, means: Sequence[tuple[str, FeatureMean]], rows: Sequence[ShownRow], total: bytes | None
) -> str:
    """The page as text; everything from people is escaped.

    Args:
        means: what counts most first.
        total: a PNG of the pixels' mean importances, of images alone.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["png"] = _base64
    text = files("flows.explanation").joinpath("page.html.j2").read_text(encoding="utf-8")
    gap = head.worst_gap
    added = (
        "what is occluded together may count twice, so they need not add up to it" if gap is None
        else f"they add up to its distance from the baseline's to within {gap:.2g} of it"
    )  # fmt: skip
    return environment.from_string(text).render(
        head=head, means=list(means)[:SHOWN_FEATURES], rows=rows, added=added,
        largest=means[0][1].absolute / means[0][1].count if means else 0.0,
        total=None if total is None else _base64(total),
    )  # fmt: skip


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
