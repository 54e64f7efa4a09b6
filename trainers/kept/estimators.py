"""Estimators and boosters as files without a pickle: scikit-learn by skops, boosters in their own formats."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from trainers.code.references import resolve_reference
from trainers.errors import InputError, TrialError
from trainers.kept.description import KeptModel, Kind

# Their classes are taken as they are; a class of anybody else must be named.
_LIBRARIES = frozenset({"sklearn", "lightgbm", "xgboost"})
_PLAIN = frozenset({"collections.OrderedDict"})
_FILES: dict[Kind, str] = {
    "sklearn": "estimator.skops", "lightgbm": "booster.txt", "xgboost": "booster.ubj",
}  # fmt: skip
WAYS = (
    "a torch.nn.Module with build=, a scikit-learn estimator, LightGBM's or XGBoost's model; "
    "of another kind keep its files: trial.keep(path, predict='package.module:predict')"
)


def write_estimator(
    model: object, folder: Path, *, predict: str | None, trusted: Collection[str]
) -> KeptModel:
    """Writes an estimator below the folder.

    Args:
        predict: as in `KeptModel`; needed where the estimator predicts nothing itself.
        trusted: classes of people's own in it, `package.module.Class`.

    Raises:
        TrialError: it is of no kind that is known here, or holds what cannot be written without a pickle.
        InputError: a class in it is to be named, or a library is missing.
    """
    kind = _kind_of(model)
    path = folder / _FILES[kind]
    if kind == "lightgbm":
        path.write_text(model.model_to_string())  # type: ignore[attr-defined]
    elif kind == "xgboost":
        path.write_bytes(bytes(model.save_raw("ubj")))  # type: ignore[attr-defined]
    else:
        if predict is None and not hasattr(model, "predict"):
            do = "name who asks it: trial.model(estimator, predict='package.module:predict')"
            raise TrialError("an estimator that is kept must predict", type(model).__name__, do)
        data, classes = _dump_skops(model, frozenset(trusted))
        path.write_bytes(data)
        return KeptModel(kind=kind, path=path.name, predict=predict, trusted=classes)
    return KeptModel(kind=kind, path=path.name, predict=predict)


def _kind_of(model: object) -> Kind:
    top = type(model).__module__.partition(".")[0]
    if top in ("lightgbm", "xgboost") and type(model).__name__ == "Booster":
        return "lightgbm" if top == "lightgbm" else "xgboost"
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    if base is not None and isinstance(model, base):
        return "sklearn"
    raise TrialError("trial.model must be given a model that can be kept without pickle", _name(model), WAYS)


def _name(model: object) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _dump_skops(model: object, named: Collection[str]) -> tuple[bytes, tuple[str, ...]]:
    skops = _import_skops()
    try:
        data: bytes = skops.dumps(model)
        found = sorted(map(str, skops.get_untrusted_types(data=data)))
    except Exception as error:  # whatever an object's own __getstate__ or __reduce__ raises
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        do = f"leave out what holds it, or give {WAYS}"
        raise TrialError(
            f"{_name(model)} must be made of what skops writes without a pickle", text, do
        ) from error
    for name in found:
        if not _is_of_library(name):
            _check_own_class(name, named)
    return data, tuple(found)


def _import_skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        do = "pip install 'velodrome[sklearn]'"
        raise InputError(
            "skops must be installed, for a scikit-learn model has no pickle", str(error), do
        ) from error
    return skops.io


def _is_of_library(name: str) -> bool:
    return name.partition(".")[0] in _LIBRARIES or name in _PLAIN


def _check_own_class(name: str, named: Collection[str]) -> None:
    """A class of people's own is named by them, and can be imported elsewhere."""
    if name not in named:
        do = f"name what you trust: trial.model(estimator, trusted=[{name!r}]); a lambda cannot be named"
        raise InputError("a class in a kept estimator must be scikit-learn's, or be named", name, do)
    check_trusted([name])


def own_references(trusted: Iterable[str]) -> list[str]:
    """The classes of people's own among those, as `package.module:name`."""
    return [":".join(name.rsplit(".", 1)) for name in trusted if not _is_of_library(name)]


def check_trusted(trusted: Iterable[str]) -> None:
    """Refuses what a bundle may not ask to be trusted: all but those libraries' and people's own classes."""
    for reference in own_references(trusted):
        resolve_reference(reference)


def load_skops(data: bytes, trusted: Iterable[str]) -> Any:
    """The estimator of a skops file that holds no other classes than those."""
    names = list(trusted)
    check_trusted(names)
    skops = _import_skops()
    try:
        return skops.loads(data, trusted=names)
    except Exception as error:  # a forged file may raise anything
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError("a kept estimator must load by skops", text) from error
