"""What a promotion decides, from what was found and recorded: nothing is asked or written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding
from flows.promotion.gates.predictions import Truth
from flows.promotion.gates.scoring import higher_is_better, known_metrics
from flows.promotion.judging.candidate import Candidate
from flows.promotion.judging.evaluation import EvaluationSource
from infra.errors import WrongInput
from infra.registry.chain import Chain, ChainEntry
from infra.registry.identity import user_part
from infra.registry.store import ModelVersion

Metrics = Mapping[str, Mapping[str, float]]


def champion_failure(why: str) -> GateFinding:
    """The refusal of a comparison with a champion that does not answer."""
    return GateFinding(
        gate="champion", verdict="refused", limit="the champion can be asked too", found=why,
        by="`velodrome rollback` goes back to one that can",
        do="`velodrome rollback` to a champion that can be asked",
    )  # fmt: skip


def select_metric(policy: Policy, source: EvaluationSource, truth: Truth) -> str:
    """What is compared: the policy's metric, else the sweep's objective, else the task's usual one."""
    known = known_metrics(truth.task)
    written = policy.compare.metric
    if written is not None:
        plain = written.rpartition("/")[2]
        if plain not in known:
            raise WrongInput(f"the policy's compare.metric must be one of {', '.join(known)}", written)
        return plain
    return next((name for name in source.metrics if name in known), known[0])


def find_ignored_gates(policy: Policy, source: str, candidate: Candidate) -> tuple[str, ...]:
    """What is said of a sweep file's gates that do not govern its promotion."""
    if (
        not candidate.gates
        or source == "sweep file"
        or Policy.model_validate(dict(candidate.gates)) == policy
    ):
        return ()
    why = "has a policy" if source == "chain" else "has had champions without a policy"
    do = f"`velodrome policy {candidate.model} --set FILE` sets other gates"
    return (f"the gates of the sweep's file are ignored, for {candidate.model} {why}; {do}",)


def find_weak_champion(metric: str, findings: Sequence[GateFinding], metrics: Metrics) -> tuple[str, ...]:
    """Said where the champion is no better than one answer for all: then being better than it is little."""
    guess = next((finding.bound for finding in findings if finding.gate == "guess"), None)
    value = metrics.get("champion", {}).get(metric)
    if guess is None or value is None or (value > guess if higher_is_better(metric) else value < guess):
        return ()
    return (f"the champion's {metric} here is {value:.4g}, no better than one answer for all ({guess:.4g})",)


def approvers(chain: Chain, version: ModelVersion) -> list[str]:
    """Who agreed to this version with these bytes, since the policy was last changed."""
    since = 0 if chain.last_policy is None else chain.last_policy.number
    return [
        user_part(entry.who)
        for entry in chain.entries
        if entry.kind == "approval"
        and entry.number > since
        and entry.target == version.number
        and entry.manifest == version.manifest_sha256
    ]


def find_overtaking_entry(judged: Chain, now: Chain) -> ChainEntry | None:
    """The entry written since the judgement that takes its ground away; None where it still stands."""
    since = now.entries[len(judged.texts) :]
    return next((entry for entry in since if entry.is_move or entry.kind in ("foreign", "policy")), None)
