"""The version that an alias points at, with its files: what a server of predictions follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.home import Home
from infra.names import check_name
from infra.registry.artifacts import fetch_version
from infra.registry.store import CHAMPION, Registry, registry_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointed:
    """A version and where its files are.

    Attributes:
        version: its number.
        path: MLflow's folder of the model, with `MLmodel`; inside the store where that is on this machine.
        bundle: our bundle inside `path`; None for a model that is not ours.
        manifest_sha256: what the registry says the bundle's manifest must hash to; None for others.
    """

    model: str
    version: int
    path: Path
    bundle: Path | None
    manifest_sha256: str | None


def champion(
    model: str, *, uri: str | None = None, home: Home | None = None, alias: str = CHAMPION
) -> Pointed | None:
    """The version that an alias of a model points at now, fetched; None where it points nowhere.

    Args:
        uri: the registry's; by default `MLFLOW_TRACKING_URI` or the embedded one.
        alias: `champion` or `challenger`.

    Raises:
        WrongInput: the name is none, or the files lie where none are taken from.
        RegistryUnavailable: the registry does not answer.
    """
    check_name(model, "model")
    place = home or Home.here()
    registry = Registry.open(registry_uri(place, uri), place)
    number = registry.at(model, alias)
    version = None if number is None else registry.version(model, number)
    if version is None:
        return None
    files = fetch_version(registry, version, place.cache / "models" / model / str(version.number))
    return Pointed(
        model=model,
        version=version.number,
        path=files.folder,
        bundle=files.bundle,
        manifest_sha256=version.manifest_sha256,
    )
