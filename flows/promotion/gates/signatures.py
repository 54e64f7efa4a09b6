"""Whether whoever uses the champion can use a challenger in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.gate import GateInputs
from trainers.types import Json


def check_signature(_policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """What goes in and out is what went in and out before."""
    found = "; ".join(case.signature or ())
    yield gate_finding(
        "signature", not found, limit="takes and gives what the champion does", found=found or "the same",
        do="train on the champion's columns, or promote it as another model by --model",
    )  # fmt: skip


def signature_columns(mlmodel: Mapping[str, Json], which: str) -> dict[str, str] | None:
    """Name → type of a model's `inputs` or `outputs`, as its MLmodel has them; None where it has none.

    An unnamed column is named by its place; a tensor's type holds its shape. Optional inputs are left out of
    nothing: their type ends with `?`.
    """
    signature = mlmodel.get("signature")
    text = signature.get(which) if isinstance(signature, dict) else None
    if not isinstance(text, str):
        return None
    try:
        listed = json.loads(text)
    except ValueError:
        return None
    entries = listed if isinstance(listed, list) else []
    return {str(entry.get("name", place)): _column_type(entry) for place, entry in enumerate(entries)}


def _column_type(entry: Mapping[str, Json]) -> str:
    optional = "" if entry.get("required", True) else "?"
    tensor = entry.get("tensor-spec")
    if isinstance(tensor, dict):
        return f"{tensor.get('dtype')}{tensor.get('shape')}{optional}"
    return f"{entry.get('type')}{optional}"


def signature_differences(challenger: Mapping[str, Json], champion: Mapping[str, Json]) -> list[str]:
    """What would break for a user of the champion; empty where nothing would.

    A challenger may need fewer inputs and give more outputs. Inputs of type `any` fit every type.

    Args:
        challenger, champion: their MLmodel documents.
    """
    found: list[str] = []
    before, after = signature_columns(champion, "inputs"), signature_columns(challenger, "inputs")
    if (before is None) != (after is None):
        return [f"the {'challenger' if after is None else 'champion'} has no signature"]
    for name, kind in (after or {}).items():
        known = (before or {}).get(name)
        if known is None and not kind.endswith("?"):
            found.append(f"needs {name} ({kind})")
        elif known is not None and known.rstrip("?") != kind.rstrip("?") and kind != "any":
            found.append(f"takes {name} as {kind}, not {known}")
    before, after = signature_columns(champion, "outputs"), signature_columns(challenger, "outputs")
    for name, kind in (before or {}).items():
        given = (after or {}).get(name)
        if given is None:
            found.append(f"no longer gives {name}")
        elif given != kind:
            found.append(f"gives {name} as {given}, not {kind}")
    return found
