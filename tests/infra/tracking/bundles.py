"""Real bundles of the built-in families, untrained: what matters here is how they travel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.bundle.bundle import save_bundle
from trainers.data.distribution import training_distributions
from trainers.data.sources.opening import open_dataset
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.registry import load_reference

SOURCES = {
    "text_cnn": {"source": "jsonl:reviews.jsonl", "columns": {"text": "text", "target": "label"}},
    "linear_regression": {"source": "builtin:diabetes"},
    "image_cnn": {"source": "builtin:digits"},
    "gan": {"source": "builtin:digits", "task": "generation"},
}


def a_bundle(reference: str, folder: Path, cache: Path) -> Path:
    """A bundle of a family with fresh weights, fitted on a small data set."""
    import torch

    torch.manual_seed(0)
    cache.mkdir(parents=True, exist_ok=True)
    _write_reviews(cache / "reviews.jsonl")
    dataset = open_dataset(SOURCES[reference], base=cache, cache=cache)
    family: Any = load_reference(reference)
    made = family({})
    params = made.complete({})
    state = encode_dataset(made, dataset, params, cache).state
    return save_bundle(
        folder,
        family_reference=reference,
        options={},
        params={},
        state=state,
        weights=made.build(state, params).state_dict(),
        facts={"distribution": training_distributions(dataset)},
        example_rows=made.example(dataset),
        row_hashes_of_train=dataset.row_hashes[dataset.splits["train"]],
    )


def _write_reviews(path: Path) -> None:
    rows = (
        f'{{"text": "a {w} film, number {n}", "label": "{w}"}}' for n in range(40) for w in ("fine", "dull")
    )
    path.write_text("\n".join(rows) + "\n")
