"""`velodrome predict`: predictions for a file or a folder of images or clips, of any size."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.inference.model_lookup import choose_model, fetch_artifact
from flows.terminal.json_results import PlainResult
from infra.errors import WrongInput
from infra.home import Home
from infra.predicting.csv_file import CsvFile, read_as_trained
from infra.predicting.format import InputFormat, PartSizes
from infra.predicting.line_files import TextLines
from infra.predicting.on_ray import ActorPool, score_on_ray
from infra.predicting.output_parts import OutputParts, open_parts
from infra.predicting.parquet_and_images import FileFolder, open_input
from infra.predicting.scoring import check_columns, count_unseen, match_single_field, score_here
from infra.serving.artifact import Artifact, ServedModel, load_artifact
from infra.serving.model_schema import Field
from trainers.code.exits import refuse_exits
from trainers.data.disk.paths import content_stamp
from trainers.types import JsonObject

Say = Callable[[str], None]
Advanced = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions(PlainResult):
    """What `predict` wrote.

    Attributes:
        model: the version that answered: `digits/3`.
        rows: in the output; `carried_on` parts of them were there from an earlier command.
        warning: what should be known of the model; may be empty.
        unseen: column → how many of its values training never saw.
    """

    model: str
    input: str
    output: str
    rows: int
    carried_on: int
    seconds: float
    warning: str = ""
    unseen: Mapping[str, int] = field(default_factory=dict)


def predict(
    model: str,
    input: Path | str,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    address: str | None = None,
    pool: ActorPool | None = None,
    sizes: PartSizes | None = None,
    home: Home | None = None,
    say: Say = lambda text: None,
    advanced: Advanced = lambda rows, size: None,
) -> Predictions:
    """Writes the input again with predictions; carries on where the same command was ended.

    Args:
        model: a registered model (its champion), `NAME@ALIAS`, `NAME/3`, `runs:/…`, `models:/…`, or a sweep.
        input: CSV, JSONL, Parquet, Excel, text (a row a line), an image, a clip or a folder of them.
        out: by default beside the input: `rows.predictions.csv`.
        overwrite: also where the output, or a part of it, is there already.
        address: an existing Ray cluster, where Ray Data scores with a `pool` of actors; else this process.
        say: told of warnings.
        advanced: told after each part: rows so far, and about how many bytes they took.

    Raises:
        WrongInput: no such model or input, columns that do not fit, a row that cannot be read.
        Unavailable: the registry, the cluster or the storage cannot be had.
    """
    began = time.monotonic()
    place = home or Home.from_environment()
    kind = open_input(Path(input))
    output = _output(kind, out)
    chosen = choose_model(model, place)
    if chosen.warning:
        say(f"warning: {chosen.warning}")
    artifact = fetch_artifact(chosen, place)
    with refuse_exits():
        loaded = load_artifact(artifact, device="cpu" if address else choose_device())
    kind = read_as_model_does(kind, loaded, say)
    fields = match_fields(kind, kind.columns(), loaded)
    work = sizes or PartSizes()
    with (
        open_parts(output, kind.ending, _identity(kind, artifact, work), overwrite=overwrite) as parts,
        refuse_exits(),
    ):
        before = len(parts.done_numbers())
        rows = _score_input(
            kind, artifact, loaded, fields, parts, work, address, pool or ActorPool(), place, advanced
        )
        parts.join_parts(kind, output)
    unseen = count_unseen(kind, loaded, fields, work)
    _warn_of_unseen(unseen, rows, say)
    return Predictions(
        model=artifact.key, input=str(kind.path), output=str(output), rows=rows, carried_on=before,
        seconds=round(time.monotonic() - began, 3), warning=chosen.warning,
        unseen=unseen,
    )  # fmt: skip


def read_as_model_does(kind: InputFormat, loaded: ServedModel, say: Say) -> InputFormat:
    """The input as it looks; as its training file was read, where the model's columns are not seen so or its
    encoding can only be guessed."""
    for note in kind.notes() if isinstance(kind, TextLines) else ():
        say(f"note: {note}")
    needed = {field.name for field in loaded.fields}
    if not (isinstance(kind, CsvFile) and loaded.schema.read):
        return kind
    guessed = kind.encoding == "cp1252" and "encoding" in loaded.schema.read
    if needed <= set(kind.columns()) and not guessed:
        return kind
    found = read_as_trained(kind.path, loaded.schema)
    if found is None:
        return kind
    said = ", ".join(f"{name}: {value}" for name, value in loaded.schema.read.items() if name != "names")
    say(f"note: {kind.path.name} is read as the model's training file was ({said or 'names as given there'})")
    return found


def _score_input(
    kind: InputFormat,
    artifact: Artifact,
    loaded: ServedModel,
    fields: list[Field],
    parts: OutputParts,
    sizes: PartSizes,
    address: str | None,
    pool: ActorPool,
    home: Home,
    advanced: Advanced,
) -> int:
    if address is None:
        return score_here(kind, loaded, fields, parts, sizes, advanced)
    from infra.driver.cluster import connect_ray

    with connect_ray(address, home):
        return score_on_ray(kind, artifact, fields, parts, sizes, pool, advanced)


def _output(kind: InputFormat, out: Path | str | None) -> Path:
    path = Path(out) if out else kind.path.with_name(f"{kind.path.stem}.predictions{kind.ending}")
    if path.suffix.lower() != kind.ending.lower():
        do = "leave --out out, or give it that ending"
        raise WrongInput(f"the output of this input must end with {kind.ending}", path.name, do)
    if not path.parent.is_dir():
        raise WrongInput(
            "the output's folder must be there", f"{path.parent} is not", f"mkdir -p {path.parent}"
        )
    if path.resolve() == kind.path.resolve():
        raise WrongInput("the output must not be the input", str(path))
    return path.absolute()


def match_fields(kind: InputFormat, present: list[str], loaded: ServedModel) -> list[Field]:
    """The model's columns by the names that the input has; refuses what does not fit before it is read."""
    check_columns(present, loaded.fields, loaded.outputs, str(kind.path))
    return match_single_field(present, loaded.fields)


def choose_device() -> str:
    """Where a model computes here."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _warn_of_unseen(unseen: Mapping[str, int], rows: int, say: Say) -> None:
    for name, count in unseen.items():
        say(f"warning: {count:,} of {rows:,} values of column {name} were never seen in training")


def _identity(kind: InputFormat, artifact: Artifact, sizes: PartSizes) -> JsonObject:
    """What must be the same for parts of an earlier command to be carried on with."""
    return {
        "input": _fingerprint(kind),
        "model": _artifact_digest(artifact),
        "parts": [sizes.rows, sizes.characters],
    }


def _fingerprint(kind: InputFormat) -> str:
    """Changes when the input does: sizes and times, not content, which may be larger than memory."""
    files = [kind.folder / name for name in kind.names] if isinstance(kind, FileFolder) else [kind.path]
    facts = [(str(file.resolve()), content_stamp(file.stat())) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _artifact_digest(artifact: Artifact) -> str:
    found = hashlib.sha256()
    for name, content in sorted(artifact.files.items()):
        found.update(f"{name}\0{len(content)}\0".encode() + hashlib.sha256(content).digest())
    return found.hexdigest()
