"""What was answered, as it is kept beside a decision: enough to come to the decision again.

Of numbers and classes the answers themselves; of texts and of users' items only what each adds to the metric,
for these may be people's.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.paired_comparison import example_shares
from flows.promotion.gates.predictions import TaskPredictions, Truth
from infra.registry.records import MOST_CHARACTERS, document_text
from trainers.code.versions import installed_versions
from trainers.types import Document, JsonObject

_VERSIONS_OF = ("velodrome", "numpy", "scipy", "torch", "pandas", "mlflow")
_OF_TEXTS = ("seq2seq", "question-answering", "recommendation")


def record_answers(case: GateInputs, hashes: npt.NDArray[np.uint64]) -> JsonObject:
    """The record of a case; without probabilities, or without any answer, where it would be too large."""
    texts = case.truth.task in _OF_TEXTS
    record: JsonObject = {
        "task": case.truth.task,
        "classes": list(case.truth.classes),
        "metric": case.metric,
        "rows": _pack(hashes),
        "versions": installed_versions(_VERSIONS_OF),
        "truth": None if texts else _pack(case.truth.values),
        "slices": {name: _pack(rows) for name, rows in case.slices.items()},
        "groups": {
            column: {name: _pack(rows) for name, rows in groups.items()}
            for column, groups in case.groups.items()
        },
        "sensitive": list(case.sensitive),
        "facts": {"challenger": dict(case.facts), "champion": dict(case.champion_facts)},
        "signature": None if case.signature is None else list(case.signature),
    }
    given = {"challenger": case.challenger, "champion": case.champion}
    for chances in (True, False):
        answers = {who: _pack_answers(case, one, chances) for who, one in given.items() if one is not None}
        whole = {**record, "answers": answers}
        if len(document_text(whole)) <= MOST_CHARACTERS:
            return whole
    return {
        **record,
        "rows": None,
        "truth": None,
        "slices": {},
        "groups": {},
        "sensitive": [],
        "answers": None,
    }


def _pack_answers(case: GateInputs, answers: TaskPredictions, chances: bool) -> JsonObject:
    if case.truth.task in _OF_TEXTS:
        shares = example_shares(case.metric, case.truth, answers)
        return {"shares": None if shares is None else _pack(shares)}
    given = answers.chances if chances else None
    return {"values": _pack(answers.values), "chances": None if given is None else _pack(given)}


def read_case(record: Document) -> GateInputs:
    """The case of a record of numbers or classes."""
    answers = {
        who: TaskPredictions(
            values=_unpack(given["values"]),
            chances=None if given["chances"] is None else _unpack(given["chances"]),
        )
        for who, given in record["answers"].items()
    }
    return GateInputs(
        metric=record["metric"],
        truth=Truth(task=record["task"], values=_unpack(record["truth"]), classes=tuple(record["classes"])),
        challenger=answers["challenger"],
        champion=answers.get("champion"),
        facts=record["facts"]["challenger"],
        champion_facts=record["facts"]["champion"],
        slices={name: _unpack(rows) for name, rows in record["slices"].items()},
        groups={
            column: {name: _unpack(rows) for name, rows in groups.items()}
            for column, groups in record.get("groups", {}).items()  # records of before have none
        },
        sensitive=record.get("sensitive", ()),
        signature=record["signature"],
    )


def read_shares(record: Document) -> dict[str, npt.NDArray[np.float64]]:
    """What each text adds to the metric, by who answered; none where that was not kept."""
    kept = {who: given.get("shares") for who, given in record["answers"].items()}
    return {who: _unpack(shares) for who, shares in kept.items() if shares is not None}


def read_rows(record: Document) -> npt.NDArray[np.uint64]:
    """Hashes of the rows that were judged on."""
    rows: npt.NDArray[np.uint64] = _unpack(record["rows"])
    return rows


def _pack(values: npt.NDArray[Any]) -> JsonObject:
    array = np.ascontiguousarray(values)
    text = base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
    return {"type": array.dtype.str, "shape": list(array.shape), "zlib": text}


def _unpack(packed: Mapping[str, Any]) -> npt.NDArray[Any]:
    data = zlib.decompress(base64.b64decode(packed["zlib"]))
    return np.frombuffer(data, dtype=packed["type"]).reshape(packed["shape"]).copy()
