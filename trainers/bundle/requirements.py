"""Which libraries a model needs to answer, by its bundle alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.registry import BUILT_IN, load_reference

if TYPE_CHECKING:
    from trainers.bundle.contents import BundleDocument

EVERY_MODEL = ("numpy", "pandas", "pyarrow", "pydantic", "safetensors", "torch")


def required_distributions(document: BundleDocument) -> frozenset[str] | None:
    """Names of the distributions that loading the bundle and asking its model import, or None.

    None for people's own code, of which nobody knows what it imports.

    Args:
        document: the bundle's `model.json`.
    """
    found = load_reference(document["family"]) if document.get("family") in BUILT_IN else None
    if not isinstance(found, type):
        return None
    state = document["state"]
    of_data = {"tokenizers": "tokenizer" in state, "pillow": "shape" in state}
    of_options = {"peft": bool(document["options"].get("lora"))}
    asked = {name for name, needed in {**of_data, **of_options}.items() if needed}
    return frozenset({*EVERY_MODEL, *found.libraries, *asked})
