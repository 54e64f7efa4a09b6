"""`velodrome promote`: a challenger against the champion, by the gates of the registered model.

The winner of a sweep (by validation, never by test), one of its trials, or a model that MLflow has already is
registered, given the alias `challenger`, and judged on rows that neither it nor the champion was trained on.
"""

from __future__ import annotations

from dataclasses import replace

from flows.promotion.card import describe_in_mlflow
from flows.promotion.judging.candidate import (
    Candidate,
    candidate_of_sweep,
    candidate_of_uri,
    check_uri,
    is_uri,
    source_uri,
)
from flows.promotion.judging.notification import notify
from flows.promotion.judging.outcome import Promotion
from flows.promotion.judging.promoter import Promoter
from flows.promotion.registry_access import check_reason
from infra.errors import RefusedError, WrongInput
from infra.home import Home
from infra.names import quote_input
from infra.registry.identity import user_at_host
from infra.registry.store import Registry, registry_uri
from infra.tracking.client import is_unused
from trainers.types import JsonObject


class GateRefused(RefusedError):
    """Gates refused; `promotion` has the table."""

    def __init__(self, promotion: Promotion) -> None:
        self.promotion = promotion
        gates = [finding for finding in promotion.findings if finding.is_refused]
        named = ", ".join(finding.gate for finding in gates)
        helps = [f"{finding.gate}: {finding.do}" for finding in gates if finding.do]
        must = f"{promotion.candidate} must pass every gate of {promotion.model}"
        do = "\n".join(helps) or "promote another trial"
        super().__init__(must, f"{named}; {promotion.what_stays}", do)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.promotion,))


def promote(
    what: str,
    *,
    trial: int | None = None,
    family: str | None = None,
    model: str | None = None,
    to: str | None = None,
    registry: str | None = None,
    reason: str = "",
    dry_run: bool = False,
    home: Home | None = None,
) -> Promotion:
    """Registers a challenger, tests it against the champion by the gates, moves the alias or refuses.

    The same call again finishes what was cut off, and does nothing where the candidate is the champion.

    Args:
        what: a sweep's name or file, or a model as `models:/NAME/VERSION`, `models:/NAME@ALIAS`,
            `models:/m-…` or `runs:/RUN/NAME`.
        trial: of a sweep, this trial instead of the winner.
        family: which family's, where the number is not enough.
        model: the registered model's name; by default the sweep file's `model`, or its name.
        to: another registry, which the version is copied to and promoted in.
        registry: the registry of a `models:/` or `runs:/` model; by default `MLFLOW_TRACKING_URI` or the
            embedded store.
        reason: kept in the history.
        dry_run: nothing is registered, recorded or moved.

    Raises:
        GateRefused: a gate refused; nothing was moved.
        ConcurrentChange, ForeignMove: somebody else moved the champion.
        WrongInput: no such sweep, trial or model, or nothing to judge on.
        Unavailable: a store does not answer; the same call goes on where this one stopped.
    """
    check_reason(reason)
    if is_uri(what):
        check_uri(what)
    place = home or Home.from_environment()
    given = registry_uri(place, registry)
    where = source_uri(what, place, given)
    if is_uri(what) and is_unused(where):
        raise WrongInput(
            "a model must be in the registry", f"{quote_input(what)}; nothing was ever tracked here"
        )
    source = Registry.open(where, place)
    candidate = _resolve_candidate(what, source, place, trial=trial, family=family, model=model)
    target = Registry.open(registry_uri(place, to), place) if to is not None else source
    promoter = Promoter(home=place, source=source, target=target)
    return conclude(promoter, candidate, reason=reason, dry_run=dry_run)


def conclude(promoter: Promoter, candidate: Candidate, *, reason: str, dry_run: bool) -> Promotion:
    """Runs a promotion, tells whom the policy names, and raises where a gate refused."""
    result = promoter.promote(candidate, reason=reason, dry_run=dry_run)
    if not dry_run and result.outcome in ("moved", "refused"):
        said = [notify(promoter.policy.notify, result.outcome, _notification_document(result, reason))]
        if result.version is not None:
            moved = result.outcome == "moved"
            said.append(describe_in_mlflow(promoter.target, result.model, result.version, champion=moved))
        result = replace(result, notes=(*result.notes, *filter(None, said)))
    if result.is_refused:
        raise GateRefused(result)
    return result


def _resolve_candidate(
    what: str, source: Registry, home: Home, *, trial: int | None, family: str | None, model: str | None
) -> Candidate:
    if not is_uri(what):
        return candidate_of_sweep(what, home, trial=trial, family=family, model=model)
    if trial is not None or family is not None:
        raise WrongInput("--trial and --family are for sweeps", what, "leave them out")
    return candidate_of_uri(what, source, model=model)


def _notification_document(result: Promotion, reason: str) -> JsonObject:
    """The document that a command or a webhook gets."""
    return {
        "model": result.model,
        "outcome": result.outcome,
        "version": result.version,
        "former": result.former,
        "candidate": result.candidate,
        "who": user_at_host(),
        "reason": reason,
        "entry": result.entry,
        "hash": result.hash,
        "refused_by": [finding.gate for finding in result.findings if finding.is_refused],
    }
