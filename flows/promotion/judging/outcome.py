"""What became of a promotion, and what was found on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flows.comparison.groups import GroupTable
from flows.promotion.gates.findings import GateFinding
from flows.promotion.judging.examples import Examples
from flows.statistics import PairedComparison
from flows.terminal.json_results import PlainResult
from infra.registry.chain import hash_text
from infra.registry.records import document_text
from trainers.types import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion(PlainResult):
    """What became of a promotion.

    Attributes:
        outcome: `moved`, `refused`, `would move` (a dry run), or `already` (it was the champion).
        version: the candidate's; None where it was not registered.
        former: the champion before.
        findings: the table of gates.
        metrics: of `challenger` and `champion` on the same examples.
        examples: how many; `left_out`: rows that one of them was trained on; `copies`: rows that repeat
            another one, judged on once.
        policy: where the gates came from: `chain`, `sweep file` or `defaults`.
        test_reads: how often this data was read to judge or report, this time counted.
        entry: number of the record; None for a dry run.
        notes: what a person should know.
    """

    model: str
    candidate: str
    outcome: str
    version: int | None
    former: int | None
    findings: tuple[GateFinding, ...] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    examples: int = 0
    left_out: int = 0
    copies: int = 0
    data: Mapping[str, str] = field(default_factory=dict)
    policy: str = "defaults"
    test_reads: int = 0
    entry: int | None = None
    hash: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        """Whether a gate refused."""
        return self.outcome == "refused"

    @property
    def what_stays(self) -> str:
        """The champion where the alias does not move, in words."""
        return "there is no champion" if self.former is None else f"version {self.former} stays the champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found of a candidate, and what is kept of it in the records.

    Attributes:
        files: `hash_files` of them.
        test_reads: how often the test split was read, this time counted; not kept here.
    """

    findings: tuple[GateFinding, ...]
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    comparison: PairedComparison | None = None
    examples: Examples | None = None
    policy: Mapping[str, Json] = field(default_factory=dict)
    policy_source: str = "defaults"
    answers: Mapping[str, Json] = field(default_factory=dict)
    groups: tuple[GroupTable, ...] = ()
    notes: tuple[str, ...] = ()
    files: str = ""
    test_reads: int = 0

    @property
    def has_passed(self) -> bool:
        """Whether no gate refused."""
        return not any(finding.is_refused for finding in self.findings)

    def to_json(self) -> JsonObject:
        """The document beside the chain: the table, and what was read."""
        data = self.examples
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "metrics": {who: dict(values) for who, values in self.metrics.items()},
            "groups": [table.to_json() for table in self.groups],
            "comparison": None if self.comparison is None else self.comparison.to_json(),
            "data": None if data is None else {
                "source": data.source, "part": data.part, "fingerprint": data.fingerprint,
                "examples": len(data.hashes), "left_out": data.left_out, "copies": data.copies,
                "rows": digest_rows(data.hashes),
            },
            "answers": hash_text(document_text(self.answers)) if self.answers else None,
            "policy": {"id": hash_text(document_text(self.policy)), "source": self.policy_source},
        }  # fmt: skip


def digest_rows(hashes: npt.NDArray[np.uint64]) -> str:
    """16 hex digits over the rows that were judged on, in any order."""
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()[:16]
