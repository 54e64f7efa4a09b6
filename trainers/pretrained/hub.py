"""Models of Hugging Face's libraries: a folder or a hub name to a configuration, a tokenizer and weights.

Nothing here runs code that came with a model, and weights come from safetensors alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from trainers.errors import InputError
from trainers.user_paths import expand_user

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from trainers.types import Json, JsonObject, Params, State

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
_WANTED: tuple[str, ...] = (
    CONFIG,
    "*.safetensors",
    "*.safetensors.index.json",
    "*.model",
    "vocab*",
    "merges.txt",
)
_WANTED += (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SECONDS = 10.0
_DROPOUTS: tuple[str, ...] = (
    "dropout",
    "dropout_rate",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
)
_DROPOUTS += (
    "attention_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "seq_classif_dropout",
    "qa_dropout",
)


def is_file(name: str | None) -> bool:
    """Whether `pretrained` means a file of a module's own weights, not a folder or a name on the hub."""
    return name is not None and Path(name).suffix in (".safetensors", ".pt", ".pth", ".bin")


def find_folder(name: str, *, option: str = "pretrained") -> Path:
    """The folder that holds a model: the path itself, or the hub's files in the local cache.

    Args:
        name: a folder with `config.json`, or a name on the hub (`t5-small`, `owner/model`).
        option: which option says it, for the error.

    Raises:
        InputError: there is no such folder, or the hub cannot be reached and the cache does not have it.
    """
    key = ("options", option)
    path = expand_user(name, key=key)
    if path.is_dir():
        if not (path / CONFIG).is_file():
            raise InputError(f"{option} must be a folder with {CONFIG}", f"{path} has none", key=key)
        return path.resolve()
    if not _NAME.fullmatch(name):
        raise InputError(f"{option} must be a folder that exists, or a name on the hub", repr(name), key=key)
    return _find_on_hub(name, key)


def _find_on_hub(name: str, key: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    fetch = partial(snapshot_download, repo_id=name, allow_patterns=list(_WANTED), etag_timeout=_SECONDS)
    try:
        try:
            found = Path(fetch(local_files_only=True))
        except LocalEntryNotFoundError:
            found = Path(fetch())
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            "a model of the hub must be in the local cache, or the hub reachable",
            f"{name}: {_first_line(error)}",
            f"where there is a network: `hf download {name} --local-dir DIR`; bring DIR here and name it",
            key=key,
        ) from error
    if not (found / CONFIG).is_file():
        raise InputError(f"a model of the hub must have {CONFIG}", name, key=key)
    return found


def read_config(folder: Path) -> JsonObject:
    """The model's configuration, without what would point to code of its own.

    Raises:
        InputError: the file is no JSON object, or names no kind of model.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be readable JSON", str(error)) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputError(
            f"{path} must name its model_type", "none", "take the folder of a transformers model"
        )
    return {name: value for name, value in config.items() if name not in ("auto_map", "_name_or_path")}


def read_tokenizer(folder: Path) -> str:
    """The model's tokenizer as JSON of the `tokenizers` library.

    Raises:
        InputError: the folder has none.
    """
    path = folder / TOKENIZER
    if path.is_file():
        return path.read_text(encoding="utf-8")
    from transformers import AutoTokenizer

    silence_transformers()
    try:
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return str(made.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError, ImportError, KeyError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{folder} must have {TOKENIZER}", first, "save it with tokenizer.save_pretrained"
        ) from error


def has_weights(folder: Path) -> bool:
    """Whether there are weights beside the configuration."""
    return any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))


def load_weights(
    module: torch.nn.Module, folder: Path, *, fresh: Iterable[str], sha256: str | None = None
) -> None:
    """Copies a folder's weights into a model of transformers.

    Args:
        module: a `PreTrainedModel`; names with and without its base model's prefix are understood.
        fresh: patterns of the module's names that need not be in the folder (a new head): they stay as drawn.
        sha256: what the file of weights must hash to.

    Raises:
        InputError: weights are missing, are no safetensors, have other shapes, or another hash.
    """
    files = sorted(folder.glob("*.safetensors"))
    key = ("options", "pretrained")
    if not files:
        raise InputError(
            "pretrained weights must be in safetensors",
            f"none in {folder}",
            "load the model where it is trusted and save it with model.save_pretrained(DIR)",
            key=key,
        )
    if sha256 is not None:
        check_hash(files, sha256)
    silence_transformers()
    own = cast("PreTrainedModel", module)
    loaded, info = type(own).from_pretrained(
        folder,
        config=own.config,
        use_safetensors=True,
        local_files_only=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _check_keys(folder, info, tuple(fresh))
    kept = {n: t for n, t in loaded.state_dict().items() if n not in set(info["missing_keys"])}
    kept = {n: t for n, t in kept.items() if n not in {entry[0] for entry in info["mismatched_keys"]}}
    module.load_state_dict(kept, strict=False)


def check_hash(files: Iterable[Path], sha256: str) -> None:
    """Refuses weights that are not those that were meant."""
    found = hash_files(files)
    if found != sha256.lower():
        raise InputError("the weights must have the hash options.sha256", found, key=("options", "sha256"))


def hash_files(files: Iterable[Path]) -> str:
    """SHA-256 over files in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


class _LoadingInfo(TypedDict):
    """What transformers says of a load: names without weights, and names with shapes found and wanted."""

    missing_keys: Collection[str]
    mismatched_keys: Collection[tuple[str, Sequence[int], Sequence[int]]]


def _check_keys(folder: Path, info: _LoadingInfo, fresh: tuple[str, ...]) -> None:
    def is_fresh(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in fresh)

    missing = sorted(name for name in info["missing_keys"] if not is_fresh(name))
    other = sorted(entry for entry in info["mismatched_keys"] if not is_fresh(entry[0]))
    key = ("options", "pretrained")
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputError(
            f"weights in {folder} must have the names of the model's", f"without {shown}", key=key
        )
    if other:
        name, found, wanted = other[0]
        raise InputError(
            f"{name} must have the shape {tuple(wanted)}", f"{tuple(found)} in {folder}", key=key
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def silence_transformers() -> None:
    """Keeps transformers from drawing progress bars and load reports into a lane's log."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def make_module(auto: str, config: Mapping[str, Json], *, dropout: float) -> torch.nn.Module:
    """A model with freshly drawn weights.

    Args:
        auto: one of transformers' Auto classes (`AutoModelForSequenceClassification`).
        config: from `read_config`, or made by hand; `model_type` says which model.
        dropout: set wherever the kind of model has one.

    Raises:
        InputError: the kind of model is unknown, or cannot do this.
    """
    import transformers

    silence_transformers()
    try:
        made = transformers.AutoConfig.for_model(**config)
        for name in _DROPOUTS:
            if hasattr(made, name):
                setattr(made, name, dropout)
        module: torch.nn.Module = getattr(transformers, auto).from_config(made)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"a model must be one that transformers has as {auto}",
            f"{config.get('model_type')}: {_first_line(error)}",
            key=("options", "auto"),
        ) from error
    return module


def without_labels(config: Mapping[str, Json]) -> JsonObject:
    """A configuration without the labels of another task."""
    labels = ("id2label", "label2id", "num_labels", "problem_type")
    return {name: value for name, value in config.items() if name not in labels}


def pad_id(config: Mapping[str, Json]) -> int:
    """The id that stands where there is no text."""
    given = (config.get(name) for name in ("pad_token_id", "eos_token_id"))
    return next((found for found in given if isinstance(found, int)), 0)


def image_config(folder: Path, size: tuple[int, int] | None) -> State:
    """Height, width, channels, and what the numbers are scaled by, as the model was trained."""
    config: Params = read_config(folder)
    path = folder / "preprocessor_config.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    side = config.get("image_size") or before.get("crop_size") or before.get("size") or 224
    if isinstance(side, Mapping):
        side = side.get("height") or side.get("shortest_edge") or 224
    height, width = size or (side if isinstance(side, list) else (side, side))
    channels = int(config.get("num_channels", 3))
    moments = {
        name: list(before.get(f"image_{name}") or [0.5] * channels)[:channels] for name in ("mean", "std")
    }
    return {"shape": [int(height), int(width), channels], "fit": "crop", **moments}
