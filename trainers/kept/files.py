"""A kept model's files: read from a trial's directory into a bundle, and laid out again to be loaded."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from trainers.code.exits import blame_code
from trainers.code.importing import source_sha256
from trainers.code.references import resolve_reference
from trainers.errors import InputError, TrialError
from trainers.kept.answers import ask_estimator, load_lightgbm, load_xgboost
from trainers.kept.description import KeptDocument, KeptModel
from trainers.kept.estimators import load_skops, own_references
from trainers.kept.hugging_face import TextClassifier, is_text_classifier
from trainers.kept.pickles import is_pickle

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

PREFIX = "kept-"  # of the names of its files in a bundle


def describe_path(found: Path, path: str, *, predict: str | None, load: str | None) -> KeptModel | None:
    """The model that a kept file or folder is; None: it is an artifact alone.

    Raises:
        TrialError: it holds a pickle.
        InputError: `predict` or `load` cannot be imported, or `load` stands alone.
    """
    if predict is None:
        if load is not None:
            raise InputError(
                "trial.keep must be told who asks what load gives", f"load={load!r} alone", "add predict="
            )
        if found.is_dir() and is_text_classifier(found):
            return KeptModel(kind="transformers", path=path)
        return None
    for file in list_files(found):
        if is_pickle(file):
            do = (
                "save weights by safetensors, or a module by trial.model(module, build=…); "
                "without predict= any file is kept as an artifact"
            )
            raise TrialError("a kept model must hold no pickle", file.name, do)
    for name in (predict, load):
        if name is not None:
            source_sha256(name)
    return KeptModel(kind="own", path=path, predict=predict, load=load)


def list_files(found: Path) -> list[Path]:
    """The file, or all files of the folder; links are left out."""
    files = sorted(found.rglob("*")) if found.is_dir() else [found]
    return [path for path in files if path.is_file() and not path.is_symlink()]


def pack_files(kept: KeptModel, directory: Path) -> tuple[KeptDocument, dict[str, bytes]]:
    """What a bundle says of the model, and its files by their stored names.

    Args:
        directory: that `kept.path` is below.
    """
    top = directory / kept.path
    paths = list_files(top)
    stored = {f"{PREFIX}{place}": path for place, path in enumerate(paths)}
    below = {
        name: top.name if path == top else f"{top.name}/{path.relative_to(top)}"
        for name, path in stored.items()
    }
    document = KeptDocument(
        kind=kept.kind,
        path=top.name,
        files=below,
        trusted=list(kept.trusted),
        predict=kept.predict,
        load=kept.load,
    )
    return document, {name: path.read_bytes() for name, path in stored.items()}


def code_references(document: KeptDocument) -> list[str]:
    """People's own functions and classes that it needs."""
    named = [name for name in (document["predict"], document["load"]) if name is not None]
    return [*named, *own_references(document["trusted"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A kept model, ready to be asked.

    Attributes:
        name: who answers, for messages.
        ask: predictions of named rows.
        module: what computes, where that is torch's.
        laid_out: its files, for as long as it is used.
    """

    name: str
    ask: Callable[[Any], Any]
    module: torch.nn.Module
    laid_out: LaidOutFiles | None = None


def load_kept(document: KeptDocument, files: Mapping[str, bytes]) -> LoadedModel:
    """Loads a kept model from its files' content.

    Raises:
        InputError: it cannot be loaded here, and why.
    """
    import torch

    content = {path: files[name] for name, path in document["files"].items()}
    kind, predict = document["kind"], document["predict"]
    module, laid_out = torch.nn.Module(), None
    ask: Callable[[Any], Any] | None = None
    if kind in ("sklearn", "lightgbm", "xgboost"):
        loaded, ask = _load_estimator(document, content[document["path"]])
    else:
        laid_out = LaidOutFiles(content)
        loaded = laid_out.path / document["path"]
        if kind == "transformers":
            classifier = TextClassifier(loaded)
            module, ask, loaded = classifier.module, classifier.answer, classifier
        elif document["load"] is not None:
            loaded = _call_load(document["load"], loaded)
    if predict is not None:
        ask = partial(resolve_reference(predict), loaded)
    assert ask is not None
    return LoadedModel(name=predict or f"the {kind} model", ask=ask, module=module, laid_out=laid_out)


def _load_estimator(document: KeptDocument, data: bytes) -> tuple[Any, Callable[[Any], Any]]:
    try:
        if document["kind"] == "sklearn":
            estimator = load_skops(data, document["trusted"])
            return estimator, lambda rows: ask_estimator(estimator, rows)
        return load_lightgbm(data.decode()) if document["kind"] == "lightgbm" else load_xgboost(data)
    except ImportError as error:
        raise InputError(
            "a kept model's library must be installed",
            str(error),
            f"install {error.name or document['kind']}",
        ) from error


def _call_load(name: str, path: Path) -> Any:
    with blame_code(f"{name} must load the kept files"):
        return resolve_reference(name)(path)


class LaidOutFiles:
    """Files in a folder of their own, which goes when this is let go of.

    Attributes:
        path: the folder.
    """

    def __init__(self, content: Mapping[str, bytes]) -> None:
        """Writes them."""
        self.path = Path(mkdtemp(prefix="velodrome-kept-")).resolve()
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        for name, data in content.items():
            path = (self.path / name).resolve()
            if not path.is_relative_to(self.path) or path == self.path:
                raise InputError("a kept file must lie in its own folder", repr(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
