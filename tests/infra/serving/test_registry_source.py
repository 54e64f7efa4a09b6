"""Versions of a real registry: what is fetched, and what never is."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import WrongInput
from infra.registry.artifacts import fetch_files
from infra.registry.moves import Mover
from infra.registry.store import Registry
from infra.serving.artifact import Artifact, load_artifact, read_artifact
from infra.serving.registry_source import RegistrySource
from tests.infra.serving.registry_with_models import (
    RegistryFixture,
    answers,
    flip_weight_bit,
    save_mlflow_folder,
)
from tests.infra.serving.scripted_server import Aliases, Server, run
from trainers.errors import TrainerError
from trainers.storage.atomic_folders import manifest_hash


def test_alias_is_fetched_as_a_model_that_answers(
    registered: RegistryFixture, bundle: Path, tmp_path: Path
) -> None:
    registered.add("m", bundle, alias="champion")
    assert registered.source.alias_target("m", "champion") == "m/1"
    artifact = registered.source.fetch("m/1", tmp_path / "aside")
    assert artifact.manifest_sha256 == manifest_hash(bundle)
    model = load_artifact(artifact)
    assert model.predict(model.example).to_dict("records") == answers(bundle)
    assert registered.source.alias_target("m", "challenger") is None
    assert registered.source.alias_target("nothing", "champion") is None
    with pytest.raises(WrongInput, match="must be registered"):
        registered.source.fetch("m/7", tmp_path / "none")


def test_copied_version_is_fetched_as_the_same_files(
    registered: RegistryFixture, bundle: Path, tmp_path: Path
) -> None:
    registered.add("m", bundle)
    registered.client.call("create_registered_model", "copy")
    registered.client.call("create_model_version", "copy", "models:/m/1")
    artifact = registered.source.fetch("copy/1", tmp_path / "aside")
    assert load_artifact(artifact).example is not None


def test_run_and_logged_model_are_fetched_by_address(
    registered: RegistryFixture, bundle: Path, tmp_path: Path
) -> None:
    run = registered.client.call("create_run", registered.experiment).info.run_id
    registered.add("m", bundle, run_id=run)
    version = registered.registry.version("m", 1)
    assert version is not None
    for address in (f"models:/{version.model_id}", f"runs:/{run}/m", f"runs:/{run}/model"):
        found = registered.source.fetch_uri(address, tmp_path / "a")
        assert (found.key, found.bundle) == (address, True)
    for missing in (f"models:/m-{'0' * 32}", f"runs:/{'0' * 32}/model", f"runs:/{run}/other"):
        with pytest.raises(WrongInput, match="must"):
            registered.source.fetch_uri(missing, tmp_path / "b")


def test_model_that_is_not_ready_is_refused(registered: RegistryFixture, tmp_path: Path) -> None:
    logged = registered.client.call("create_logged_model", registered.experiment, name="m")
    with pytest.raises(WrongInput, match="READY"):
        registered.source.fetch_uri(f"models:/{logged.model_id}", tmp_path / "aside")


@pytest.mark.parametrize("allowed", [False, True])
def test_a_loader_that_the_policy_allows_is_allowed_to_servers_too(
    registered: RegistryFixture, bundle: Path, tmp_path: Path, allowed: bool
) -> None:
    registered.add("m", bundle)
    described = Path(registered.location("m", "1").removeprefix("file://")) / "MLmodel"
    described.write_text(described.read_text().replace("velodrome.model", "company.loader"))
    if allowed:
        mover = Mover(registered.registry, "m")
        mover.append_note("policy", content=mover.records.store_document({"loaders": ["company.loader"]}))
        assert not registered.source.fetch("m/1", tmp_path / "aside").bundle
    else:
        with pytest.raises(WrongInput, match=r"company\.loader"):
            registered.source.fetch("m/1", tmp_path / "aside")


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc", "/etc", "http://169.254.169.254/latest", "https://evil.example/m", "ftp://evil/m",
        "mlflow-artifacts://169.254.169.254/m", "mlflow-artifacts:/../../etc", "s3://b/%2e%2e/%2e%2e/x",
        "s3://user:pass@host/x", "mlflow-artifacts:/m#x", "mlflow-artifacts:/%252e%252e/etc", "dbfs:/m",
        "models:/m/1", "file://host/share", "s3://bucket/./m", "hdfs://elsewhere/m",
        "mlflow-artifacts:/%2e%2e/etc",
    ],
)  # fmt: skip
def test_fetch_from_outside_the_store_is_refused(
    empty: RegistryFixture, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "mlflow.store.artifact.artifact_repository_registry.get_artifact_repository"
    monkeypatch.setattr(asked, lambda *given, **options: pytest.fail(str(given)))
    with pytest.raises(WrongInput):
        fetch_files(empty.registry, source, tmp_path / "aside")


def test_fetch_through_a_link_out_of_the_home_is_refused(empty: RegistryFixture, tmp_path: Path) -> None:
    link = empty.home.artifacts / "link"
    link.symlink_to("/etc")
    with pytest.raises(WrongInput, match="experiments keep theirs"):
        fetch_files(empty.registry, str(link), tmp_path / "aside")


def test_fetched_model_with_flipped_bit_or_other_manifest_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"weights\.safetensors"):
        load_artifact(read_artifact("m/1", flip_weight_bit(bundle, tmp_path / "damaged")))
    right = manifest_hash(bundle)
    assert load_artifact(read_artifact("m/1", bundle, manifest_sha256=right))
    with pytest.raises(TrainerError):
        load_artifact(read_artifact("m/1", bundle, manifest_sha256="0" * 64))


class Evil:
    """Leaves a canary where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


@pytest.mark.parametrize(
    ("loader", "more"),
    [
        ("mlflow.pyfunc.model", {"python_model": "python_model.pkl", "cloudpickle_version": "3.0.0"}),
        ("mlflow.sklearn", {"model_path": "model.pkl", "predict_fn": "predict"}),
        ("velodrome.model", {"data": "data", "code": "code"}),
        ("evil", {"data": "data"}),
        ("os", {}),
        ("velodrome.model", {"data": "../../etc"}),
    ],
)
def test_model_load_runs_no_pickle_and_no_code(loader: str, more: dict[str, str], tmp_path: Path) -> None:
    folder, canary = tmp_path / "model", tmp_path / "canary"
    (folder / "data").mkdir(parents=True)
    (folder / "code").mkdir()
    payload = pickle.dumps(Evil(canary))
    for name in ("model.pkl", "python_model.pkl", "data/model.pkl"):
        (folder / name).write_bytes(payload)
    (folder / "code" / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    flavour = "\n".join(f"    {key}: {value}" for key, value in {"loader_module": loader, **more}.items())
    sklearn = "  sklearn:\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n"
    (folder / "MLmodel").write_text(f"flavors:\n  python_function:\n{flavour}\n{sklearn}")
    with pytest.raises((WrongInput, TrainerError)):
        load_artifact(read_artifact("m/1", folder))
    assert not canary.exists()


@pytest.mark.parametrize(
    "text", ["", "[" * 1000 + "]" * 1000, "flavors: 3", "a: !!python/object/apply:os.system [ls]"]
)
def test_malformed_mlmodel_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(WrongInput):
        read_artifact("m/1", tmp_path)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x"])
def test_model_load_writes_no_file_outside_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="a file named"):
        load_artifact(Artifact(key="m/1", files={name: b""}, bundle=True))


def test_model_with_a_link_inside_is_refused(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "linked"
    folder.mkdir()
    for path in bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "more").symlink_to("/etc/passwd")
    with pytest.raises(WrongInput, match="is a link"):
        read_artifact("m/1", folder)


def test_model_larger_than_memory_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with (tmp_path / "weights.safetensors").open("wb") as sparse:  # costs its maker nothing
        sparse.truncate(1 << 35)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1 << 34))
        with pytest.raises(WrongInput, match="fit into memory"):
            read_artifact("m/1", tmp_path)
    os.truncate(tmp_path / "weights.safetensors", 1 << 40)
    with pytest.raises(WrongInput, match="within limits"):
        read_artifact("m/1", tmp_path)


def test_model_from_mlflow_folder_answers_as_its_bundle(bundle: Path, tmp_path: Path) -> None:
    save_mlflow_folder(tmp_path / "model", bundle)
    artifact = read_artifact("m/1", tmp_path / "model")
    assert artifact.bundle
    model = load_artifact(artifact)
    assert model.predict(model.example).to_dict("records") == answers(bundle)
    assert [field.name for field in model.fields] == list(model.example.columns)


def test_registries_of_a_server_give_no_local_folders(tmp_path: Path) -> None:
    from infra.tracking.client import TrackingStore

    registry = Registry(TrackingStore("http://localhost:1", None), tmp_path / "artifacts")
    with pytest.raises(WrongInput, match="experiments keep theirs"):
        fetch_files(registry, str(tmp_path), tmp_path / "aside")


def test_alias_moved_by_hand_is_told_and_followed_only_where_that_is_wanted(
    registered: RegistryFixture, bundle: Path
) -> None:
    for _ in range(3):
        registered.add("m", bundle)
    mover = Mover(registered.registry, "m")
    mover.move_champion(mover.records.read_chain(), "promotion", 2)
    source = registered.source
    strict = RegistrySource(registered.registry, only_promoted=True)
    assert source.champion_state("m") == "settled"
    registered.move("m", "champion", 3)
    assert (source.alias_target("m", "champion"), source.champion_state("m")) == ("m/3", "foreign")
    assert strict.alias_target("m", "champion") == "m/2"
    assert strict.alias_target("nothing", "champion") is None
    mover.move_champion(mover.records.read_chain(), "rollback", 1)
    assert strict.alias_target("m", "champion") == "m/1"


def test_champions_standing_is_in_version_and_metrics() -> None:
    async def story() -> None:
        server = Server(aliases=Aliases(state="foreign"))
        await server.follower.poll_once()
        assert (await server.ask(method="GET", path="/version")).json["champion_state"] == "foreign"
        figures = (await server.ask(method="GET", path="/metrics")).body.decode()
        assert 'velodrome_champion_state{state="foreign"} 1.0' in figures

    run(story)
