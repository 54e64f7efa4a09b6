"""The same on a Ray cluster: Ray Data reads the parts in one task and scores them in a pool of actors.

Parts travel as bytes, one a row, so that Ray Data neither splits nor joins them; whoever asked writes them
down in the order in which they are done.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.errors import ClusterUnavailable, WrongInput
from infra.predicting.format import InputFormat, PartSizes
from infra.predicting.output_parts import OutputParts
from infra.predicting.scoring import Advanced, score_part
from infra.serving.artifact import Artifact, load_artifact
from infra.serving.model_schema import Field

if TYPE_CHECKING:
    import ray
    from ray.data import DataContext, Datasource

    from trainers.types import Cell

NUMBER, FIRST_ROW, ROWS, SIZE, PART, OUTPUT, REFUSED = (
    "number", "first_row", "rows", "size", "part", "output", "refused",
)  # fmt: skip
BLOCK_BYTES = 1  # a block a part: an actor that is free takes the next
START_LIMIT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorPool:
    """Actors that score, and what each gets of the cluster."""

    actors: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


def score_on_ray(
    kind: InputFormat,
    artifact: Artifact,
    fields: Sequence[Field],
    parts: OutputParts,
    sizes: PartSizes,
    pool: ActorPool,
    advanced: Advanced,
) -> int:
    """As `score_here`, on the Ray that is connected; the input must be readable there.

    Raises:
        WrongInput: as `score_here`.
        ClusterUnavailable: Ray ended it, or had no room for the actors within `START_LIMIT_S`.
    """
    from ray.exceptions import GetTimeoutError, RayError

    # More actors than parts are no fault of who asked.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    done = parts.done_numbers()
    try:
        # Closed here: an error keeps its frames, and with them the actors and their processors.
        with closing(_score_parts(kind, artifact, fields, sizes, pool, done)) as scored:
            rows = _commit_parts(scored, parts, done, advanced)
    except GetTimeoutError as error:
        raise ClusterUnavailable(
            f"the cluster must start all actors within {START_LIMIT_S} s",
            f"no room for {pool.actors} of {pool.cpus:g} CPU and {pool.gpus:g} GPU each",
            "ask for fewer, or wait for what else runs there; the same command carries on",
        ) from error
    except RayError as error:
        text = str(error).strip().splitlines()[-1][:300]
        do = "the input must be readable on every node of the cluster; the same command carries on"
        raise ClusterUnavailable("the cluster must score every part", text, do) from error
    if not rows:
        raise WrongInput("the input must have at least one row", f"none in {kind.path}")
    return rows


def _commit_parts(
    scored: Iterable[Mapping[str, Cell]], parts: OutputParts, done: set[int], advanced: Advanced
) -> int:
    """Writes down what is not there yet, as it comes; returns how many rows there are."""
    rows = size = 0
    for row in scored:
        if row[REFUSED]:
            raise WrongInput(*row[REFUSED].split("\0"))
        if row[NUMBER] not in done:
            parts.commit_part(row[NUMBER], partial(_write_bytes, content=row[OUTPUT]))
        rows, size = rows + row[ROWS], size + row[SIZE]
        advanced(rows, size)
    return rows


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _score_parts(
    kind: InputFormat,
    artifact: Artifact,
    fields: Sequence[Field],
    sizes: PartSizes,
    pool: ActorPool,
    done: set[int],
) -> Generator[Mapping[str, Cell], None, None]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    context.wait_for_min_actors_s = START_LIMIT_S
    source = _make_datasource(lambda: _part_rows(kind, sizes, done))
    # Reading asks for no processor: where the actors hold them all, it would wait for ever.
    read = ray.data.read_datasource(source, override_num_blocks=1, num_cpus=0)
    scored = read.map_batches(
        PartScorer,
        fn_constructor_args=(kind, ray.put(artifact), list(fields), pool.gpus > 0),
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pool.actors),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )
    yield from scored.iter_rows()


def _part_rows(kind: InputFormat, sizes: PartSizes, done: set[int]) -> Iterator[pa.Table]:
    """A row for each part; of those that are done already only how large they are."""
    first = 0
    for number, part in enumerate(kind.parts(sizes)):
        content = b"" if number in done else _table_bytes(part)
        yield pa.table(
            {
                NUMBER: pa.array([number], pa.int64()),
                FIRST_ROW: pa.array([first], pa.int64()),
                ROWS: pa.array([len(part)], pa.int64()),
                SIZE: pa.array([part.nbytes], pa.int64()),
                PART: pa.array([content], pa.large_binary()),
            }
        )
        first += len(part)


class PartScorer:
    """One actor of the pool."""

    def __init__(
        self,
        kind: InputFormat,
        artifact: Artifact | ray.ObjectRef[Artifact],
        fields: Sequence[Field],
        on_gpu: bool,
    ) -> None:
        import ray
        import torch

        given: Artifact = ray.get(artifact) if isinstance(artifact, ray.ObjectRef) else artifact
        device = "cuda" if on_gpu and torch.cuda.is_available() else "cpu"
        self._model = load_artifact(given, device=device)
        self._kind, self._fields = kind, fields

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Scores the one part of a batch."""
        row = batch.to_pylist()[0]
        output, refused = b"", ""
        if row[PART]:
            try:
                output = self._score_part(row)
            except WrongInput as error:
                refused = "\0".join((error.must, error.found, error.do))
        return pa.table(
            {
                NUMBER: [row[NUMBER]],
                ROWS: [row[ROWS]],
                SIZE: [row[SIZE]],
                OUTPUT: pa.array([output], pa.large_binary()),
                REFUSED: [refused],
            }
        )

    def _score_part(self, row: Mapping[str, Cell]) -> bytes:
        part = pa.ipc.open_stream(row[PART]).read_all()
        predictions = score_part(self._kind, part, self._model, self._fields, row[FIRST_ROW])
        with tempfile.TemporaryDirectory(prefix="velodrome-part-") as folder:
            path = Path(folder) / "part"
            self._kind.write(part, predictions, path, first=row[NUMBER] == 0)
            return path.read_bytes()


def _table_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _make_datasource(read: Callable[[], Iterator[pa.Table]]) -> Datasource:
    """What Ray Data reads: one task that streams."""
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    class OneReader(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(
            self,
            parallelism: int,
            per_task_row_limit: int | None = None,
            data_context: DataContext | None = None,
        ) -> list[ReadTask]:
            metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(read, metadata)]

    return OneReader()  # type: ignore[no-untyped-call]  # Ray's own class has an untyped constructor
