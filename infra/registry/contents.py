"""What a model's folder may hold: no code, no pickle, and a loader that is known. Nothing is loaded here."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml

from infra.errors import WrongInput
from infra.names import quote_input
from infra.registry.artifacts import find_bundle
from trainers.kept.pickles import is_pickle
from trainers.types import Document

OURS = "velodrome.model"
LOADERS = frozenset(
    {
        OURS,
        "mlflow.onnx",
        "mlflow.xgboost",
        "mlflow.lightgbm",
        "mlflow.catboost",
        "mlflow.sklearn",
        "mlflow.pytorch",
    }
)
MOST_BYTES = 1_000_000
_CODE = {"code": "code of its own", "model_code_path": "code of its own", "python_model": "a pickled object"}


def read_mlmodel(folder: Path) -> Document:
    """MLflow's description of a model.

    Raises:
        WrongInput: there is none, or it cannot be used.
    """
    path = folder / "MLmodel"
    must = "a model must be MLflow's: a folder with a readable MLmodel"
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise WrongInput(must, f"{quote_input(path.name)}: {error.strerror}", "log it with MLflow") from error
    if len(data) > MOST_BYTES:
        raise WrongInput(must, f"one of more than {MOST_BYTES:,} bytes")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, Loader=yaml.SafeLoader)):
            raise WrongInput(must, "YAML with aliases")
        found = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise WrongInput(must, f"one that is no YAML ({type(error).__name__})") from error
    if not isinstance(found, dict) or not isinstance(found.get("flavors"), dict):
        raise WrongInput(must, "one without flavors")
    return found


def pyfunc_flavor(mlmodel: Document) -> Document:
    """What `mlflow.pyfunc` would load it by."""
    flavor = mlmodel["flavors"].get("python_function")
    if not isinstance(flavor, dict):
        have = ", ".join(map(str, mlmodel["flavors"])) or "none"
        raise WrongInput(
            "a model must load as a pyfunc", f"the flavors {have}", "log it with a python_function"
        )
    return flavor


def model_loader(folder: Path) -> str:
    """The module that a model names as its loader."""
    return str(pyfunc_flavor(read_mlmodel(folder)).get("loader_module"))


def loading_objection(folder: Path, loaders: Collection[str] = ()) -> str:
    """Why a model's folder is not loaded; empty where nothing speaks against it.

    Args:
        loaders: loader modules that a policy allows beside the known ones; they must be installed here.
    """
    flavor = pyfunc_flavor(read_mlmodel(folder))
    for key, what in _CODE.items():
        if flavor.get(key):
            return f"{what} ({key})"
    if (folder / "code").exists():
        return "a folder of code"
    loader = str(flavor.get("loader_module"))
    if loader not in LOADERS and loader not in loaders:
        return f"the loader {quote_input(loader)}"
    data = (folder / str(flavor.get("data", "."))).resolve()
    if not data.is_relative_to(folder.resolve()):
        return "data outside its folder"
    if loader == OURS:
        bundle = find_bundle(folder)
        known = bundle is not None and bundle.resolve() == data
        return "" if known else "no bundle of Velodrome's, whose loader it names"
    return next(
        (f"a pickle ({quote_input(path.name)})" for path in _list_files(folder) if is_pickle(path)), ""
    )


def _list_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
