"""The rows of a data set that can be learned from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainers.data import hashing
from trainers.data.assembly.answer_places import find_answers
from trainers.data.assembly.column_roles import ColumnRoles, KindOf
from trainers.data.assembly.interactions import keep_liked
from trainers.data.column_kinds import missing_mask
from trainers.data.dataset import WITHOUT_TARGET, ColumnKind, Task
from trainers.data.raw import RawColumn, RawDataset, RawFiles
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder
from trainers.wording import count_of


def select_usable(
    raw: RawDataset, roles: ColumnRoles, task: Task | None, kind: KindOf, drop_missing: bool, by_time: bool
) -> tuple[RawDataset, npt.NDArray[np.int64] | None, list[str]]:
    """The rows that can be learned from, of questions where their answers begin, and what was left out."""
    needed = {roles.target: "the target"} if roles.target and task not in WITHOUT_TARGET else {}
    if roles.kind in ("text", "pairs", "questions", "corpus", "image", "audio", "interactions"):
        needed |= dict.fromkeys(roles.features.values(), "what is learned from")
    elif drop_missing:
        needed |= dict.fromkeys(roles.features.values(), "a feature (prepare.missing: drop)")
    if roles.time and (by_time or roles.kind == "interactions"):
        needed[roles.time] = "the time"
    keep = np.ones(raw.rows, np.bool_)
    notes = []
    for name, what in needed.items():
        asked = roles.kind == "questions" and name in (roles.target, *roles.features.values())
        written = asked or (name == roles.target and roles.kind == "pairs")
        column_kind: ColumnKind = "text" if written else kind(name)
        missing = missing_mask(raw.columns[name], column_kind, is_code=name in raw.codes) & keep
        if missing.any():
            notes.append(f"{count_of(int(missing.sum()), 'row')} without {what} ({name}) left out")
        keep &= ~missing
    raw, starts = keep_rows(raw, keep), None
    if roles.kind == "questions" and raw.rows:
        found = find_answers(raw, roles)
        raw, starts = keep_rows(raw, found.keep), found.starts
        notes += found.notes
    if roles.kind == "interactions" and raw.rows:
        liked, said = keep_liked(raw, roles)
        raw = keep_rows(raw, liked)
        notes += said
    if not raw.rows:
        do = "fill them in, or name other columns under data.columns"
        raise InputError("data must have usable rows", "; ".join(notes), do, key=("data", "source"))
    return raw, starts, notes


def keep_rows(raw: RawDataset, keep: npt.NDArray[np.bool_]) -> RawDataset:
    """Only the rows that the mask names; on disk where the source is."""
    if keep.all():
        return raw
    raw = replace(
        raw,
        part=None if raw.part is None else raw.part[keep],
        inputs=None if raw.inputs is None else raw.inputs[keep],
        content=None if raw.content is None else raw.content[keep],
    )
    if raw.folder is None:
        return replace(raw, columns={name: _filter_column(c, keep) for name, c in raw.columns.items()})
    table = pa.table(dict(raw.columns))

    def build(aside: Path) -> None:
        """Writes the rows that stay, a piece at a time."""
        at = 0
        with (
            pa.OSFile(str(aside / "table.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            for batch in table.to_batches(max_chunksize=hashing.CHUNK_ROWS):
                writer.write_batch(batch.filter(pa.array(keep[at : at + len(batch)])))
                at += len(batch)

    digest = hashlib.sha256(np.packbits(keep).tobytes()).hexdigest()[:16]
    folder = shared_folder(raw.folder.with_name(f"{raw.folder.name}-{digest}"), build)
    kept = pa.ipc.open_file(pa.memory_map(str(folder / "table.arrow"))).read_all()
    return replace(raw, columns={name: kept[name] for name in kept.column_names}, folder=folder)


def _filter_column(column: RawColumn, keep: npt.NDArray[np.bool_]) -> RawColumn:
    return column.keep(keep) if isinstance(column, RawFiles) else column.filter(pa.array(keep))
