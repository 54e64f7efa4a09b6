"""`velodrome history MODEL --recompute N`: the decision of an entry once more, from what it keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from flows.config.policy import Policy
from flows.promotion.gates.champion_gates import check_better
from flows.promotion.gates.findings import GateFinding
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.judging import judge
from flows.promotion.gates.paired_comparison import compare_shares
from flows.promotion.gates.scoring import compute_metrics
from flows.promotion.judging.answer_record import read_case, read_rows, read_shares
from flows.promotion.judging.outcome import digest_rows
from flows.promotion.registry_access import open_mover
from infra.errors import RefusedError, WrongInput
from infra.home import Home
from infra.registry.records import Records
from trainers.types import Document, JsonObject

CLOSE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class RecomputedLine:
    """One number or verdict, as it was recorded and as it comes out now."""

    what: str
    recorded: str
    now: str

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.recorded == self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputation:
    """A decision made again. `versions`: of the software that it was made with then."""

    model: str
    entry: int
    lines: tuple[RecomputedLine, ...]
    versions: Mapping[str, str]

    @property
    def agrees(self) -> bool:
        """Whether all of it came out the same."""
        return all(line.agrees for line in self.lines)

    def to_json(self) -> JsonObject:
        """All of it."""
        lines = [{**asdict(line), "agrees": line.agrees} for line in self.lines]
        return {
            "model": self.model, "entry": self.entry, "agrees": self.agrees, "lines": lines,
            "versions": dict(self.versions),
        }  # fmt: skip


def recompute(
    model: str, number: int, *, registry: str | None = None, home: Home | None = None
) -> Recomputation:
    """Every gate that needs answers, and every metric, from an entry's record alone: no data and no model.

    Args:
        model: a registered model.
        number: of a promotion or a refusal.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: no such entry, or it keeps no answers.
        Unavailable: the registry does not answer, or a document is not what was written.
    """
    records = open_mover(model, home or Home.from_environment(), registry).records
    evidence = _read_evidence(records, number)
    record = records.read_document(evidence["answers"])
    if record["answers"] is None:
        raise WrongInput("an entry to recompute must keep its answers", f"entry {number} had too many")
    policy = Policy.model_validate(records.read_document(evidence["policy"]["id"]))
    rows = RecomputedLine(what="rows", recorded=evidence["data"]["rows"], now=digest_rows(read_rows(record)))
    lines = [rows, *_metric_lines(evidence, record), *_gate_lines(policy, evidence, record)]
    return Recomputation(model=model, entry=number, lines=tuple(lines), versions=record["versions"])


def check_recomputation(result: Recomputation) -> None:
    """Refuses a decision that does not come out as it was recorded.

    Raises:
        RefusedError: names what differs.
    """
    differing = ", ".join(line.what for line in result.lines if not line.agrees)
    if differing:
        do = "compare the versions of the software, and the history with an exported one"
        raise RefusedError(f"entry {result.entry} of {result.model} must come out as recorded", differing, do)


def _read_evidence(records: Records, number: int) -> Document:
    entries = records.read_chain().entries
    found = entries[number - 1] if 1 <= number <= len(entries) else None
    if found is None or found.kind not in ("promotion", "refusal") or found.content is None:
        known = ", ".join(str(entry.number) for entry in entries if entry.kind in ("promotion", "refusal"))
        raise WrongInput("--recompute must name a promotion or a refusal", f"{number}", f"known are {known}")
    evidence = records.read_document(found.content)
    if not evidence.get("answers"):
        why = "it was refused before any model was asked, or recorded by an older Velodrome"
        raise WrongInput("an entry to recompute must keep its answers", f"entry {number}: {why}")
    return evidence


def _metric_lines(evidence: Document, record: Document) -> list[RecomputedLine]:
    if record["truth"] is None:
        return []
    case = read_case(record)
    answers = {"challenger": case.challenger, "champion": case.champion}
    lines = []
    for who, given in answers.items():
        now = {} if given is None else compute_metrics(case.truth, given)
        for name, value in evidence["metrics"].get(who, {}).items():
            if name in now:
                same = math.isclose(value, now[name], rel_tol=CLOSE, abs_tol=CLOSE)
                lines.append(
                    RecomputedLine(
                        what=f"{who} {name}", recorded=repr(value), now=repr(value if same else now[name])
                    )
                )
    return lines


def _gate_lines(policy: Policy, evidence: Document, record: Document) -> list[RecomputedLine]:
    recorded = {f["gate"]: GateFinding.from_json(f) for f in evidence["findings"]}
    lines = []
    for finding in _judge_again(policy, record):
        before = recorded.get(finding.gate)
        words = ["-" if f is None else f"{f.verdict}: {f.found} {f.by}".strip() for f in (before, finding)]
        lines.append(RecomputedLine(what=finding.gate, recorded=words[0], now=words[1]))
    return lines


def _judge_again(policy: Policy, record: Document) -> tuple[GateFinding, ...]:
    if record["truth"] is not None:
        return judge(policy, read_case(record)).findings
    shares, name, rule = read_shares(record), record["metric"], policy.compare
    if len(shares) < 2:
        return ()
    test = compare_shares(
        name, shares["challenger"], shares["champion"], margin=rule.margin, confidence=rule.confidence
    )
    return tuple(check_better(policy, replace(GateInputs(metric=name), comparison=test)))
