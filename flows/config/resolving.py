"""From the sweep file to the specification: every key with its value, every family checked."""

from __future__ import annotations

from flows.config.code_root import make_importable
from flows.config.commands import code_reference
from flows.config.errors import Path
from flows.config.families import check_family, load_code
from flows.config.family_entry import FamilyEntry
from flows.config.family_resolving import entry_values, resolve_family
from flows.config.loading import SweepFile
from flows.config.objectives import resolve_objectives
from flows.config.policy import to_document
from flows.config.schema import Sweep
from infra.durations import parse_seconds
from infra.errors import WrongInput, join_errors
from infra.names import family_label
from infra.spec import FamilySpec, SweepLimits, SweepSpec
from trainers.registry import is_function


def resolve_sweep(file: SweepFile, *, default_metric: str | None = None) -> SweepSpec:
    """Every key with its value. See `SweepFile.resolve`."""
    sweep = file.sweep
    families = resolve_families(file)
    codes = {
        reference: load_code(file, code_reference(reference, entry))
        for reference, entry in sweep.families.items()
    }
    budget, tracking = entry_values(sweep.budget), entry_values(sweep.tracking)
    prices = _prices(file, any(not is_function(code) for code in codes.values()))
    return SweepSpec(
        name=sweep.name,
        seed=sweep.seed,
        data=file.data,
        objectives=resolve_objectives(file, default_metric, codes),
        families=families,
        lanes=_lanes(sweep),
        weight=float(entry_values(sweep.resources).get("weight", 1.0)),
        minutes=budget.get("minutes"),
        gpu_hours=budget.get("gpu_hours"),
        cost=budget.get("cost"),
        prices=prices,
        warm_start=tuple(entry_values(sweep.search).get("warm_start", ())),
        keep_models=entry_values(sweep.keep).get("models", "best"),
        keep_checkpoints=entry_values(sweep.checkpoint).get("keep", 1),
        limits=_limits(sweep),
        tracking_uri=tracking.get("uri"),
        experiment=tracking.get("experiment"),
        ledger=sweep.ledger,
        storage=sweep.storage,
        model=sweep.model,
        gates={} if sweep.gates is None else to_document(sweep.gates),
        card=entry_values(sweep.card),
        code=entry_values(sweep.code),
    )


def resolve_families(file: SweepFile) -> tuple[FamilySpec, ...]:
    """Every family, checked. See `SweepFile.check`."""
    _check_labels(file)
    make_importable(file)
    resolved, wrong = [], []
    for reference, entry in file.sweep.families.items():
        family = entry or FamilyEntry()
        try:
            resolved.append(resolve_family(file, reference, family, check_family(file, reference, family)))
        except WrongInput as error:
            wrong.append(error)
    if wrong:
        raise join_errors(wrong)
    return tuple(resolved)


def _check_labels(file: SweepFile) -> None:
    for reference in file.sweep.families:
        try:
            family_label(reference)
        except WrongInput as error:
            raise file.written.error_at(
                ("families", reference), f"be named so that {error.must}", error.found, error.do
            )


def _prices(file: SweepFile, has_families: bool) -> dict[str, float]:
    """With what they are needed for: a function may report a price of its own."""
    outer, inner = file.sweep.prices, file.sweep.budget.prices if file.sweep.budget else None
    if outer is not None and inner is not None:
        raise file.written.error_at(("budget", "prices"), "stand once", "prices at the top too", "drop one")
    prices = entry_values(outer or inner)
    sweep = file.sweep
    asked: list[Path] = [("budget", "cost")] if sweep.budget and sweep.budget.cost is not None else []
    asked += [("gates", "limits", "price")] if sweep.gates and sweep.gates.limits.price is not None else []
    if has_families and any(entry.metric == "price" for entry in sweep.objective or ()):
        asked.append(("objective",))
    if asked and not prices:
        do = "add prices: {gpu_hour: 2.5, cpu_hour: 0.05}"
        raise file.written.error_at(asked[0], "come with prices", "none", do)
    return prices


def _lanes(sweep: Sweep) -> int | None:
    lanes = entry_values(sweep.resources).get("lanes", "auto")
    return None if lanes == "auto" else int(lanes)


def _limits(sweep: Sweep) -> SweepLimits:
    return SweepLimits(
        **{f"{name}_s": parse_seconds(text) for name, text in entry_values(sweep.limits).items()}
    )
