"""A model of an earlier sweep as what another begins with: a folder of transformers, or a file of weights."""

from __future__ import annotations

import json
from pathlib import Path

from trainers.errors import InputError
from trainers.pretrained.hub import TOKENIZER, hash_files, silence_transformers
from trainers.storage.shared_folders import shared_folder
from trainers.types import JsonObject, State

WEIGHTS = "weights.safetensors"


def pretrained_options(bundle: Path, place: Path) -> JsonObject:
    """The options `pretrained` and `sha256` that begin with a bundle's model.

    A model of transformers is written once as a folder of its own kind, so that it is read as any other; of
    the rest the bundle's weights are taken by name and shape.

    Args:
        place: where such folders are kept.

    Raises:
        InputError: the model has adapters beside its weights.
        DamagedFolder: the bundle is not whole.
    """
    from transformers import PreTrainedModel

    from trainers.bundle.bundle import load_bundle
    from trainers.storage.atomic_folders import manifest_hash

    predictor = load_bundle(bundle, accept_code_change=True)
    module = predictor.module
    if not isinstance(module, PreTrainedModel):
        return {"pretrained": str(bundle / WEIGHTS), "sha256": hash_files([bundle / WEIGHTS])}
    if predictor.document["options"].get("lora"):
        raise InputError(
            "a model to begin with must have whole weights", "adapters (options.lora)", "sweep it without"
        )
    state: State = predictor.document["state"]

    def build(aside: Path) -> None:
        silence_transformers()
        module.save_pretrained(aside)
        for name, text in _texts(state).items():
            (aside / name).write_text(text, encoding="utf-8")

    folder = shared_folder(place / manifest_hash(bundle)[:16], build)
    return {"pretrained": str(folder), "sha256": hash_files(folder.glob("*.safetensors"))}


def _texts(state: State) -> dict[str, str]:
    """What a folder of transformers has beside configuration and weights."""
    texts = {TOKENIZER: state["tokenizer"]} if "tokenizer" in state else {}
    if "shape" in state:
        height, width = state["shape"][:2]
        size = {"height": height, "width": width}
        moments = {f"image_{name}": state[name] for name in ("mean", "std")}
        texts["preprocessor_config.json"] = json.dumps({"size": size, **moments})
    return texts
