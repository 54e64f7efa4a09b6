"""What `infra/deploy` starts on containers, pods and nodes, started as processes of machines in namespaces.

Commands, environments, secrets, probes and names are those of the files; images, volumes and users are not.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.machines import Machine, Network, make_network
from tests.faults.harness import ROOT, until
from tests.postgres import Postgres, binaries

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.long]
DEPLOY = ROOT / "infra" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
WITH_PASSWORD = "host all all 10.77.0.0/16 scram-sha-256\n"
START_LIMIT_S = 300.0
SMALL = ("--set", "budget.trials=4", "--set", "budget.epochs=1")  # what is tried is the way there
PROGRAMS = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
MLFLOW = (
    "mlflow server --host 0.0.0.0 --port 5000 --allowed-hosts mlflow:5000,localhost:5000"
    " --backend-store-uri sqlite:///mlflow.db"
)
PROBE = """
import sys
from urllib.request import Request, urlopen
headers = dict(header.split(": ") for header in sys.argv[2:])
print(urlopen(Request(sys.argv[1], headers=headers), timeout=5).read().decode())
"""


def load(path: Path) -> Any:
    """A file of `infra/deploy`."""
    return yaml.safe_load(path.read_text())


@contextlib.contextmanager
def mount_points(*paths: str) -> Iterator[None]:
    """Empty folders at these places of this machine; those that were not there go again."""
    made = [Path(path) for path in paths if not Path(path).exists()]
    for path in made:
        path.mkdir(parents=True)
    try:
        yield
    finally:
        for path in reversed(made):
            path.rmdir()


@contextlib.contextmanager
def database_on(machine: Machine, password: str) -> Iterator[Postgres]:
    """PostgreSQL with the role and the database that the files name; others need the password."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    with tempfile.TemporaryDirectory(prefix="velodrome-pg-") as files:
        within = machine.within(Path(files))
        made = Postgres(Path(files), programs, 5432, host=machine.address, within=within)
        made.make(more_hosts=WITH_PASSWORD)
        made.start()
        made.ask(f"ALTER USER velodrome PASSWORD '{password}'")
        made.ask("CREATE DATABASE velodrome OWNER velodrome")
        yield made


def start(machine: Machine, command: str | list[str], name: str) -> Any:
    """A service's command; what it prints is in `NAME.log` of the machine's folder."""
    words = shlex.split(command) if isinstance(command, str) else command
    with (machine.home / f"{name}.log").open("w") as log:
        return machine.start(*words, output=log)


def without_dollars(command: Any) -> Any:
    """As compose reads it, for which `$$` is a `$`."""
    return [word.replace("$$", "$") for word in command] if isinstance(command, list) else command


def wait_for_nodes(head: Machine, count: int) -> None:
    """Until so many nodes of Ray's are alive."""
    ask = (
        "import ray; ray.init(address='auto', logging_level='error', log_to_driver=False);"
        f"assert sum(n['Alive'] for n in ray.nodes()) == {count}"
    )
    head.wait_for(sys.executable, "-c", ask, limit_s=START_LIMIT_S)


def probe(machine: Machine, url: str, *headers: str) -> Any:
    """What an address answers, asked from a machine; None where it does not."""
    done = machine.run(sys.executable, "-c", PROBE, url, *headers)
    return done.stdout if done.returncode == 0 else None


def check_sweep(machine: Machine, name: str) -> None:
    """The sweep is over, and no trial trained on the head, which has no processor."""
    told = json.loads(machine.check("velodrome", "status", name, "--json"))
    assert told["state"] == "finished"
    assert {trial["state"] for trial in told["trials"]} <= {"complete", "pruned"}
    assert len(told["trials"]) == 4
    assert all(trial["place"]["host"] != "head" for trial in told["trials"]), told["trials"]


def make_secrets(folder: Path, *names: str) -> dict[str, str]:
    """Files with a secret each, as they are mounted."""
    folder.mkdir()
    made = {name: secrets.token_hex(32) for name in names}
    for name, value in made.items():
        (folder / name).write_text(value)
        (folder / name).chmod(0o600)
    return made


def test_compose_s_commands_make_a_cluster_that_trains(tmp_path: Path) -> None:
    services = load(DEPLOY / "compose" / "compose.yaml")["services"]
    with (
        mount_points("/run/secrets", "/shared"),
        make_network(tmp_path, ["db", "mlflow", "head", "worker1", "worker2"]) as network,
    ):
        made = make_secrets(tmp_path / "secrets", "ray-token", "ledger-password")
        machines = network.machines
        for name, machine in machines.items():
            service = services[name.rstrip("12")]
            own = {key: value.replace("$$", "$") for key, value in service.get("environment", {}).items()}
            machine.environment = PROGRAMS | own
            if "secrets" in service:
                machine.mount(tmp_path / "secrets", "/run/secrets")
            if "shared:/shared" in service["volumes"]:
                machine.mount(network.shared, "/shared")
        compose = load(DEPLOY / "compose" / "compose.yaml")
        with database_on(machines["db"], made["ledger-password"]) as database:
            healthy = services["db"]["healthcheck"]["test"][1:]
            machines["db"].wait_for(*healthy, "--host=127.0.0.1")
            for entry in services["db"]["configs"]:
                database.ask(compose["configs"][entry["source"]]["content"])
            for name in ("mlflow", "head", "worker1", "worker2"):
                start(machines[name], without_dollars(services[name.rstrip("12")]["command"]), name)
            head = machines["head"]
            wait_for_nodes(head, 3)
            until(lambda: probe(head, "http://mlflow:5000/health") is not None, START_LIMIT_S)
            doctor = head.run("velodrome", "doctor", "--address", "auto", limit_s=300)
            assert doctor.returncode == 0, doctor.stdout + doctor.stderr
            (head.home / "sweep.yaml").write_text((KUBERNETES / "job" / "sweep.yaml").read_text())
            head.check("velodrome", "sweep", "sweep.yaml", "--address", "auto", *SMALL, limit_s=900)
            check_sweep(head, "digits")
            check_no_secret(tmp_path, made["ledger-password"], machines)


def check_no_secret(folder: Path, password: str, machines: Mapping[str, Machine]) -> None:
    """The password stands in no log and no list of processes."""
    for machine in machines.values():
        assert password not in machine.check("ps", "axww", "-o", "args")
    for path in folder.rglob("*.log"):
        assert password not in path.read_text(errors="replace"), path


def start_pod(network: Network, name: str, command: list[str] | str, **own: str) -> Machine:
    """A pod of the manifests with its command."""
    machine = add_pod(network, name, **own)
    start(machine, command, name)
    return machine


def add_pod(network: Network, name: str, **own: str) -> Machine:
    """A pod of the manifests: the shared volume, the secrets, and the environment of the ConfigMap."""
    machine = network.add(name)
    machine.mount(network.shared, "/shared")
    machine.mount(network.folder / "secrets", "/secrets")
    settings = load(KUBERNETES / "shared" / "settings.yaml")["data"]
    machine.environment = PROGRAMS | settings | own
    return machine


def params(group: Mapping[str, Any]) -> list[str]:
    """What KubeRay makes of `rayStartParams`."""
    return [f"--{key}={value}" for key, value in group["rayStartParams"].items()]


def test_kubernetes_pods_run_a_job_and_serve_its_champion(tmp_path: Path) -> None:
    spec = load(KUBERNETES / "job" / "rayjob.yaml")["spec"]
    cluster = spec["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    token = {"RAY_AUTH_MODE": cluster["authOptions"]["mode"], "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with (
        mount_points("/secrets", "/shared", "/sweep", "/scratch"),
        make_network(tmp_path, ["db", "mlflow"]) as network,
    ):
        made = make_secrets(tmp_path / "secrets", "ledger-password", "serve-token")
        tracking = network.machines["mlflow"]
        tracking.environment = dict(PROGRAMS)
        tracking.mount(network.shared, "/shared")
        start(tracking, f"{MLFLOW} --artifacts-destination /shared/mlflow", "mlflow")
        with database_on(network.machines["db"], made["ledger-password"]):
            head_words = ["ray", "start", "--head", "--block", *params(cluster["headGroupSpec"])]
            head = start_pod(network, "head", head_words, **token)
            (tmp_path / "sweep").mkdir()
            (tmp_path / "sweep" / "sweep.yaml").write_text((KUBERNETES / "job" / "sweep.yaml").read_text())
            head.mount(tmp_path / "sweep", "/sweep")
            cpus = "--num-cpus=2"  # KubeRay takes it from the container's limits
            words = ["ray", "start", "--address=head:6379", "--block", cpus, *params(workers)]
            for number in range(workers["replicas"]):
                start_pod(network, f"worker{number}", words, **token)
            wait_for_nodes(head, 1 + workers["replicas"])
            until(lambda: probe(head, "http://mlflow:5000/health") is not None, START_LIMIT_S)
            entry = [*shlex.split(spec["entrypoint"]), *SMALL]
            head.check("ray", "job", "submit", "--address", "http://head:8265", "--", *entry, limit_s=900)
            check_sweep(head, "digits")
            head.check("velodrome", "promote", "digits", limit_s=600)
            check_serving(network, made["serve-token"])


def check_serving(network: Network, token: str) -> None:
    """The Deployment's container answers its probes, and ends in its time when it is asked to."""
    pod = load(KUBERNETES / "serving" / "deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    own = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    server = add_pod(network, "velodrome-serving", **own, VELODROME_SERVE_TOKEN=token)
    (network.folder / "scratch").mkdir()
    server.mount(network.folder / "scratch", "/scratch")
    start(server, container["command"], server.name)
    asking = network.machines["head"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[kind]["httpGet"]
        (port,) = [one["containerPort"] for one in container["ports"] if one["name"] == asked["port"]]
        headers = [f"{header['name']}: {header['value']}" for header in asked.get("httpHeaders", ())]
        url = f"http://{server.address}:{port}{asked['path']}"
        tries = container[kind].get("failureThreshold", 3) * container[kind]["periodSeconds"]
        until(lambda url=url, headers=headers: probe(asking, url, *headers) is not None, tries)  # type: ignore[misc]
    (process,) = [one for one in server.started if one.poll() is None]
    (first,) = server.processes("velodrome serve")[:1]
    first.send_signal(signal.SIGTERM)
    process.wait(pod["terminationGracePeriodSeconds"] * 4)
    assert process.returncode in (0, 143)


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[list[Machine]]:
    """Two bare nodes with a small sweep file, which reach a ledger, a tracking server and a shared folder."""
    with make_network(folder, ["db", "mlflow", "n1", "n2"]) as network:
        password = secrets.token_hex(16)
        nodes = [network.machines[name] for name in ("n1", "n2")]
        tracking = network.machines["mlflow"]
        tracking.environment = dict(PROGRAMS)
        with database_on(network.machines["db"], password):
            start(tracking, MLFLOW, "mlflow")
            until(lambda: probe(nodes[0], "http://mlflow:5000/health") is not None, START_LIMIT_S)
            for node in nodes:
                node.environment = PROGRAMS | {
                    "LEDGER_PASSWORD": password,
                    "VELODROME_LEDGER": "postgresql+psycopg://velodrome:${LEDGER_PASSWORD}@db/velodrome",
                    "VELODROME_STORAGE": str(network.shared / "storage"),
                    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
                }
                sweep = load(KUBERNETES / "job" / "sweep.yaml")
                sweep["budget"] = {"trials": 4, "epochs": 1}
                (node.home / "sweep.yaml").write_text(yaml.safe_dump(sweep))
            yield nodes


def test_slurm_s_script_runs_a_sweep_on_two_nodes(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as nodes:
        programs = write_slurm(tmp_path)
        for node in nodes:
            node.environment |= {
                "PATH": f"{programs}{os.pathsep}{PROGRAMS['PATH']}",
                "RAY_AUTH_TOKEN_PATH": str(tmp_path / "shared" / "ray_token"),
                "SLURM_JOB_NODELIST": "n[1-2]",
                "SLURM_NNODES": "2",
                "SLURM_CPUS_PER_TASK": "2",
                "SLURM_JOB_ID": "4711",
            }
        tasks = threading.Thread(target=answer_srun, args=(tmp_path, nodes))
        tasks.start()
        script = str(DEPLOY / "slurm" / "sweep.sbatch")
        done = nodes[0].run("bash", script, "sweep.yaml", limit_s=1200)
        tasks.join()
        told = [(node.home / "task.log").read_text() for node in nodes]
        assert done.returncode == 0, "\n".join([done.stderr, *told])
        check_sweep(nodes[0], "digits")


def test_skypilot_s_task_runs_a_sweep_on_two_nodes(tmp_path: Path) -> None:
    """What SkyPilot starts on each node at once, with the variables that it gives them."""
    task = load(DEPLOY / "skypilot" / "sweep.yaml")
    with two_nodes(tmp_path) as nodes:
        own = {"SWEEP": "sweep.yaml", "RAY_TOKEN": secrets.token_hex(32)}
        told = {
            "SKYPILOT_NODE_IPS": "\n".join(node.address for node in nodes),
            "SKYPILOT_NUM_NODES": str(task["num_nodes"]),
        }
        for node in nodes:
            node.environment |= own | told
        started = [start(node, ["bash", "-c", task["run"]], "task") for node in nodes]
        statuses = [process.wait(1200) for process in started]
        assert statuses == [0, 0], "\n".join((node.home / "task.log").read_text() for node in nodes)
        check_sweep(nodes[0], "digits")


def write_slurm(folder: Path) -> Path:
    """`scontrol` and `srun` as far as the script needs them; what runs on the nodes `answer_srun` starts."""
    programs = folder / "slurm"
    programs.mkdir()
    (programs / "scontrol").write_text("#!/bin/sh\nprintf 'n1\\nn2\\n'\n")
    (programs / "srun").write_text(
        f"""#!/bin/sh
env -0 > {folder}/environment
printf '%s\\n' "$@" > {folder}/words.part && mv {folder}/words.part {folder}/words
while [ ! -f {folder}/status ]; do sleep 0.2; done
exit "$(cat {folder}/status)"
"""
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    return programs


def answer_srun(folder: Path, nodes: list[Machine]) -> None:
    """The task on each node, with the environment that `srun` had; its status is the worst of all."""
    until((folder / "words").exists, START_LIMIT_S)
    words = (folder / "words").read_text().splitlines()
    pairs = (folder / "environment").read_text().strip("\0").split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs)
    for name in ("HOME", "VELODROME_HOME"):  # those of this test's nodes lie apart
        del environment[name]
    for node in nodes:
        node.environment = node.environment | environment
    started = [start(node, words, "task") for node in nodes]
    statuses = [process.wait(1200) for process in started]
    part = folder / "status.part"
    part.write_text(str(max(map(abs, statuses))))
    part.rename(folder / "status")
