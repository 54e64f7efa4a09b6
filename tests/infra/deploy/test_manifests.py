"""The files for clusters are ones that the programs which read them take. None is run here."""

from __future__ import annotations

import copy
import gzip
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from flows.cli.app import app
from infra.bucket import Bucket
from infra.home import Home, ledger_url
from infra.secrets import holds_secret
from infra.serving.http.access_control import OPEN_PATHS
from infra.wheel import PACKAGES
from tests.click_parsing import parse_command
from tests.docs.pages import resolve

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "infra" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# KubeRay's schemas, as gzipped JSON: `rayjobs.v1.schema.json.gz` and so on.
SCHEMAS = os.environ.get("VELODROME_KUBERAY_SCHEMAS", "")
KINDS = {"job/rayjob.yaml": "rayjobs", "cluster/raycluster.yaml": "rayclusters"}
FREE = {"labels", "rayStartParams", "requests", "limits", "metadata"}  # mappings whose keys are people's


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def pods(manifest: Any) -> Iterator[Any]:
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    yield cluster["headGroupSpec"]["template"]["spec"]
    yield from (group["template"]["spec"] for group in cluster["workerGroupSpecs"])


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=str)
def test_kustomization_names_files_that_are_there(path: Path) -> None:
    made = load(path)
    named = [*made["resources"], *made.get("configurations", ())]
    named += [file for entry in made.get("configMapGenerator", ()) for file in entry["files"]]
    assert all((path.parent / name).exists() for name in named)


@pytest.mark.parametrize("name", KINDS)
def test_pods_run_as_nobody_in_particular_with_all_they_mount(name: str) -> None:
    manifest = load(KUBERNETES / name)
    shared = {load(path)["metadata"]["name"] for path in (KUBERNETES / "shared").glob("s*.yaml")}
    for pod in pods(manifest):
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {volumes["shared"]["persistentVolumeClaim"]["claimName"]} <= shared
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"] == container["resources"]["requests"]
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
            assert {entry["configMapRef"]["name"] for entry in container["envFrom"]} <= shared


def server_pod() -> Any:
    return load(KUBERNETES / "serving" / "deployment.yaml")["spec"]["template"]["spec"]


def test_server_of_models_runs_a_command_that_velodrome_takes_and_drains_in_time() -> None:
    ((container,), pod) = server_pod()["containers"], server_pod()
    words = container["command"]
    parse_command(get_command(app), words)
    given = dict(word.removeprefix("--").split("=") for word in words[3:])
    assert given["port"] == str(container["ports"][0]["containerPort"])
    assert float(given["drain"]) * 2 < pod["terminationGracePeriodSeconds"]
    service = load(KUBERNETES / "serving" / "service.yaml")
    assert given["allow-host"] == service["metadata"]["name"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    labels = load(KUBERNETES / "serving" / "deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels


def test_server_of_models_is_asked_by_addresses_that_need_no_token_and_runs_as_nobody() -> None:
    (container,) = server_pod()["containers"]
    probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {probe["httpGet"]["path"] for probe in probes} <= OPEN_PATHS
    assert server_pod()["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"] == container["resources"]["requests"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in server_pod()["volumes"]}
    home = next(entry["value"] for entry in container["env"] if entry["name"] == "VELODROME_HOME")
    assert any(home.startswith(f"{mount['mountPath']}/") for mount in container["volumeMounts"])
    assert not any("value" in entry for entry in container["env"] if "TOKEN" in entry["name"])


def test_job_runs_a_sweep_that_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(load(KUBERNETES / "job" / "rayjob.yaml")["spec"]["entrypoint"])
    parse_command(get_command(app), words)
    assert words[-1] == "/sweep/sweep.yaml"
    assert resolve(KUBERNETES / "job" / "sweep.yaml", monkeypatch).families


def test_settings_are_those_that_velodrome_reads_and_hold_no_secret(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    compose = load(DEPLOY / "compose" / "compose.yaml")["services"]["head"]["environment"]
    for found in (load(KUBERNETES / "shared" / "settings.yaml")["data"], compose):
        environ = {name: str(value).replace("$${", "${") for name, value in found.items()}
        assert not any(holds_secret(value) for value in environ.values())
        environ["LEDGER_PASSWORD_FILE"] = str(tmp_path / "password")
        home = Home.from_environment(environ)
        assert "velodrome:s3cret@db" in ledger_url(home, None, environ)
        assert home.path == Path("/shared/home")


@pytest.mark.filterwarnings("ignore")  # MLflow's, as it is imported
def test_services_of_compose_run_commands_that_ray_and_mlflow_take() -> None:
    from mlflow.cli import cli as mlflow
    from ray.scripts.scripts import cli as ray

    compose = load(DEPLOY / "compose" / "compose.yaml")
    for service in ("head", "worker", "mlflow"):
        command = compose["services"][service]["command"]
        if isinstance(command, list):  # of a shell: what it becomes stands last
            assert subprocess.run(["sh", "-n", "-c", command[-1]], check=False).returncode == 0
            command = command[-1].partition("exec ")[2]
        words = shlex.split(command)
        parse_command({"ray": ray, "mlflow": mlflow}[words[0]], words)
    volumes = {text.partition(":")[0] for entry in compose["services"].values() for text in entry["volumes"]}
    assert volumes == compose["volumes"].keys()
    secrets = {name for entry in compose["services"].values() for name in entry.get("secrets", ())}
    assert secrets == compose["secrets"].keys()
    ports = [port for entry in compose["services"].values() for port in entry.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_object_store_of_compose_is_where_the_nodes_look_for_it() -> None:
    base = load(DEPLOY / "compose" / "compose.yaml")
    made = load(DEPLOY / "compose" / "object-store.yaml")
    services = made["services"]
    assert services["head"] == services["worker"]
    assert {"head", "worker"} == services.keys() & base["services"].keys()
    environ = services["head"]["environment"]
    bucket = Bucket.parse(environ["VELODROME_STORAGE"]).url.removeprefix("s3://").partition("/")[0]
    assert f"store/{bucket}" in services["bucket"]["entrypoint"][-1]
    assert environ["AWS_ENDPOINT_URL"].startswith("http://store:")
    mounted = {name for service in services.values() for name in service.get("secrets", ())}
    assert mounted == made["secrets"].keys()
    paths = [value for service in services.values() for value in service.get("environment", {}).values()]
    assert {path.rpartition("/")[2] for path in paths if path.startswith("/run/secrets/")} <= mounted
    assert not any("ports" in service for service in services.values())


def test_image_runs_as_a_user_and_copies_what_there_is() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert "USER 1000:1000" in lines
    sources = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in sources)
    assert {*PACKAGES} <= {*sources}


def test_batch_script_is_one_of_bash_and_its_command_one_of_rays() -> None:
    from ray.scripts.scripts import cli as ray

    path = DEPLOY / "slurm" / "sweep.sbatch"
    assert subprocess.run(["bash", "-n", path], capture_output=True, check=False).returncode == 0
    text = path.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^srun (ray symmetric-run .*)$", text, re.MULTILINE)
    words = shlex.split(re.sub(r"\$\{?\w+\}?", "1", line))
    own, sweep = words[: words.index("--")], words[words.index("--") + 1 :]
    parse_command(ray, own[: own.index("--num-cpus")])
    parse_command(ray, ["ray", "start", *own[own.index("--num-cpus") :]])
    parse_command(get_command(app), sweep)


def test_task_of_skypilot_names_what_its_scripts_read_and_runs_commands_that_there_are() -> None:
    from ray.scripts.scripts import cli as ray

    path = DEPLOY / "skypilot" / "sweep.yaml"
    task = load(path)
    assert task.keys() <= {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "setup", "run"}
    assert set(task["envs"].values()) | set(task["secrets"].values()) == {None}  # all are asked for
    for script in (task["setup"], task["run"]):
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    read = set(re.findall(r"\$\{?(\w+)", task["run"])) - {"HOME", "PATH", "head"}
    ours = {name for name in read if not name.startswith("SKYPILOT_")}
    assert ours <= {*task["envs"], *task["secrets"]}
    (line,) = re.findall(r"^ray symmetric-run .*$", task["run"].replace("\\\n", " "), re.MULTILINE)
    words = shlex.split(re.sub(r"\$\{?\w+\}?", "1", line))
    own, sweep = words[: words.index("--")], words[words.index("--") + 1 :]
    parse_command(ray, own)
    parse_command(get_command(app), sweep)
    remarks = [line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("#")]
    asked = set(re.findall(r"--(?:env|secret) (\w+)", " ".join(remarks)))
    assert asked == {*task["envs"], *task["secrets"]}


def test_cluster_grows_from_nothing_by_ray_s_second_autoscaler() -> None:
    spec = load(KUBERNETES / "cluster" / "raycluster.yaml")["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    for group in groups.values():
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
    (container,) = groups["gpus"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_queue_s_label_is_put_on_the_job_that_there_is() -> None:
    (patch,) = load(KUBERNETES / "kueue" / "kustomization.yaml")["patches"]
    manifest = load(KUBERNETES / "job" / "rayjob.yaml")
    assert patch["target"] == {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}
    (change,) = yaml.safe_load(patch["patch"])
    assert (change["op"], change["path"]) == ("add", "/metadata/labels")
    assert "labels" not in manifest["metadata"]  # which `add` would replace
    assert change["value"].keys() == {"kueue.x-k8s.io/queue-name"}
    assert manifest["spec"]["shutdownAfterJobFinishes"] is True  # Kueue takes no other


# -- KubeRay's schemas -------------------------------------------------------------------------------------


def close_schema(schema: Any) -> Any:
    """The schema with unknown keys refused, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [close_schema(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close_schema(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        closed["additionalProperties"] = False
    return closed


def validator(kind: str) -> Any:
    if not SCHEMAS:
        pytest.skip("VELODROME_KUBERAY_SCHEMAS names no folder with KubeRay's schemas")
    text = gzip.decompress((Path(SCHEMAS) / f"{kind}.v1.schema.json.gz").read_bytes())
    return jsonschema.Draft202012Validator(close_schema(json.loads(text)))


def misspelt(value: Any, inside: str = "") -> Iterator[Any]:
    """The document with one key written wrongly, once for each key that is not people's own."""
    if isinstance(value, list):
        for place, entry in enumerate(value):
            for wrong in misspelt(entry, inside):
                yield [*value[:place], wrong, *value[place + 1 :]]
    if not isinstance(value, dict):
        return
    for key, entry in value.items():
        if inside not in FREE:
            yield {f"{name}x" if name == key else name: kept for name, kept in value.items()}
        for wrong in misspelt(entry, key):
            yield {**value, key: wrong}


@pytest.mark.parametrize("name", KINDS)
def test_manifest_follows_kuberays_schema_and_no_misspelt_one_does(name: str) -> None:
    check, manifest = validator(KINDS[name]), load(KUBERNETES / name)
    check.validate(manifest)
    wrong = list(misspelt(manifest))
    assert len(wrong) > 60
    assert [found for found in wrong if check.is_valid(found)] == []


def test_value_of_another_kind_is_refused() -> None:
    check, manifest = validator("rayjobs"), load(KUBERNETES / "job" / "rayjob.yaml")
    for key, value in (
        ("backoffLimit", "three"),
        ("entrypoint", ["velodrome"]),
        ("shutdownAfterJobFinishes", 1),
    ):
        wrong = copy.deepcopy(manifest)
        wrong["spec"][key] = value
        assert not check.is_valid(wrong), key


def test_pod_of_the_server_of_models_is_one_that_kubernetes_knows_and_no_misspelt_one_is() -> None:
    """By the schema of pods within KubeRay's."""
    schema = validator("rayclusters").schema["properties"]["spec"]["properties"]["headGroupSpec"]
    check = jsonschema.Draft202012Validator(schema["properties"]["template"]["properties"]["spec"])
    check.validate(server_pod())
    wrong = list(misspelt(server_pod()))
    assert len(wrong) > 60
    assert [found for found in wrong if check.is_valid(found)] == []
