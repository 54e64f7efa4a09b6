"""Which libraries a model needs to answer, by its bundle alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.inputs.clips import CLIP
from trainers.registry import BUILT_IN, load_reference

if TYPE_CHECKING:
    from trainers.bundle.contents import BundleDocument

EVERY_MODEL = ("numpy", "pandas", "pyarrow", "pydantic", "safetensors", "torch")

# Both spellings of XGBoost's; whoever pins them leaves out what is not installed.
_PACKAGES = {
    "sklearn": ("scikit-learn", "scipy", "skops"),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "transformers": ("transformers", "tokenizers"),
}


def required_distributions(document: BundleDocument) -> frozenset[str] | None:
    """Names of the distributions that loading the bundle and asking its model import, or None.

    None for people's own code, of which nobody knows what it imports.

    Args:
        document: the bundle's `model.json`.
    """
    if "kept" in document and document["kept"]["kind"] != "own" and not document["code"]:
        return frozenset({*EVERY_MODEL, *library_distributions(document)})
    found = load_reference(document["family"]) if document.get("family") in BUILT_IN else None
    if not isinstance(found, type):
        return None
    state = document["state"]
    clips = CLIP in state
    of_data = {
        "tokenizers": "tokenizer" in state, "pillow": "shape" in state and not clips, "soundfile": clips,
        "scipy": clips,
    }  # fmt: skip
    of_options = {"peft": bool(document["options"].get("lora"))}
    asked = {name for name, needed in {**of_data, **of_options}.items() if needed}
    return frozenset({*EVERY_MODEL, *found.libraries, *asked})


def library_distributions(document: BundleDocument) -> frozenset[str]:
    """Names of the distributions that read a kept model's files; none for other models."""
    if "kept" not in document:
        return frozenset()
    kept = document["kept"]
    named = {name.partition(".")[0] for name in kept["trusted"]} & _PACKAGES.keys()
    kinds = {kept["kind"], *named} & _PACKAGES.keys()
    return frozenset(name for kind in kinds for name in _PACKAGES[kind])


def model_origin(document: BundleDocument) -> str:
    """Who made the model: its family, the function that builds it, or the library whose files it is."""
    kept = document.get("kept")
    if kept is None:
        return str(document.get("family") or document.get("build"))
    return str(kept["predict"] or kept["kind"])
