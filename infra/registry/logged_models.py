"""MLflow's logged models by their addresses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infra.errors import WrongInput
from infra.names import quote_input
from infra.registry.store import Registry
from infra.tracking.client import MissingEntity, RequestRejected

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

_LOGGED = re.compile(r"models:/(m-[0-9a-f]{32})")
_RUN = re.compile(r"runs:/([0-9a-f]{32})/([\w.-]{1,200})")
_UI = "see it in `velodrome ui`"


def is_logged_uri(uri: str) -> bool:
    """Whether an address is of one of the forms that `find_logged_model` takes."""
    return bool(_LOGGED.fullmatch(uri) or _RUN.fullmatch(uri))


def find_logged_model(registry: Registry, uri: str) -> LoggedModel:
    """MLflow's description of a logged model.

    Args:
        uri: `models:/m-…`, or `runs:/RUN/NAME`; the name `model` means a run's only one too.

    Raises:
        WrongInput: another form, no such run or model, or one that was not logged to its end.
        RegistryUnavailable: the registry does not answer.
    """
    try:
        if found := _LOGGED.fullmatch(uri):
            model: LoggedModel = registry.call("get_logged_model", found[1])
        elif found := _RUN.fullmatch(uri):
            model = _model_of_run(registry, found[1], found[2], uri)
        else:
            raise WrongInput(
                "a logged model must be given as models:/m-… or runs:/RUN/NAME", quote_input(uri)
            )
    except (MissingEntity, RequestRejected):
        raise WrongInput("a logged model must be there", quote_input(uri), _UI) from None
    check_ready(model, uri)
    return model


def check_ready(model: LoggedModel, label: str) -> None:
    """Refuses a model whose files may not all be there yet.

    Raises:
        WrongInput: it is not READY.
    """
    if str(model.status) != "READY":
        raise WrongInput("a logged model must be READY", f"{label} is {model.status}", "log it again")


def _model_of_run(registry: Registry, run_id: str, name: str, uri: str) -> LoggedModel:
    run = registry.call("get_run", run_id)
    query = f"source_run_id = '{run_id}'"
    models = registry.call("search_logged_models", [run.info.experiment_id], filter_string=query)
    named: list[LoggedModel] = [model for model in models if model.name == name] or (
        models if name == "model" else []
    )
    if not named:
        raise WrongInput("a run must have a logged model of that name", quote_input(uri), _UI)
    if len(named) > 1 and named[0].name != name:
        raise WrongInput("a run of several models must be asked for one by its name", quote_input(uri), _UI)
    return named[0]
