"""Which data a promotion judges on, and the count of its readings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.config.lookup import open_sweep, sweep_in_ledger
from flows.config.policy import Policy
from flows.promotion.judging.candidate import Candidate
from flows.sweeps.views.states import count_test_reads
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger.batch import WriteBatch
from infra.registry.store import ModelVersion
from trainers.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSource:
    """Evaluation data.

    Attributes:
        spec: as `data` in a sweep file.
        base: the folder that relative paths start from.
        fingerprint: what it must have; None where nothing was said.
        recorded: what it had when it was first used: its sides are decided as they were then.
        metrics: what the sweep was judged by, without prefixes.
        paths: folders of people's own code, which models may need.
        sweep: whose data it is; empty where it is the policy's.
    """

    spec: Mapping[str, Json]
    base: Path
    part: str
    fingerprint: str | None = None
    recorded: str | None = None
    metrics: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    sweep: str = ""


def resolve_evaluation_source(
    policy: Policy, candidate: Candidate, champion: ModelVersion | None, home: Home
) -> EvaluationSource:
    """The policy's evaluation data, else the test split of the challenger's sweep, else of the champion's."""
    label = candidate.sweep or (None if champion is None else champion.tags.get("velodrome.sweep"))
    swept = None if label is None else _sweep_source(label, home, needed=policy.evaluation is None)
    wanted = policy.evaluation
    if wanted is not None:
        return EvaluationSource(
            spec=wanted.data.model_dump(mode="json", exclude_none=True),
            base=home.path,
            part=wanted.part,
            fingerprint=wanted.fingerprint,
            recorded=wanted.fingerprint,
            metrics=() if swept is None else swept.metrics,
            paths=() if swept is None else swept.paths,
        )
    if swept is None:
        raise WrongInput(
            "a promotion needs data to judge on",
            f"{candidate.label} came from no sweep that is known here",
            "set a policy with evaluation: {data: {source: …}}",
        )
    return swept


def _sweep_source(label: str, home: Home, *, needed: bool) -> EvaluationSource | None:
    try:
        ledger, row = open_sweep(label, home)
    except WrongInput as error:
        if needed:
            raise WrongInput(
                "a promotion needs data to judge on",
                f"the model came from the sweep {label}, and there is {error.found or error.must}",
                "set a policy with evaluation: {data: {source: …}} (`velodrome policy MODEL --set FILE`)",
            ) from None
        return None
    ledger.close()
    own_code = row.facts.get("own_code")
    return EvaluationSource(
        spec=row.spec.data,
        base=Path(row.facts.get("base") or "."),
        part="test",
        recorded=row.fingerprint,
        metrics=tuple(goal.metric.rpartition("/")[2] for goal in row.spec.objectives),
        paths=(str(own_code),) if own_code else (),
        sweep=row.label,
    )


def record_test_read(label: str, home: Home, examples: int) -> int:
    """Counts that the test split of a sweep was read, and says how often that has been."""
    with sweep_in_ledger(label, home) as (ledger, row):
        batch = WriteBatch()
        batch.add_event("test-read", time.time(), {"why": "promote", "count": examples})
        ledger.add_events(row.id, batch)
        return count_test_reads(ledger, row)
