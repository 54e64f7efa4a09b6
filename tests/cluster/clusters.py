"""A cluster of machines in namespaces: Ray, PostgreSQL, MLflow's server, and a folder that all share."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.cluster.machines import Machine, Network, make_network
from tests.faults.harness import ROOT, Stage, kill, until
from tests.postgres import Postgres, binaries

PORT = 6379
START_LIMIT_S = 240.0
ASK_NODES = """
import ray
ray.init(address="auto", log_to_driver=False, logging_level="error")
print(*[node["NodeName"] for node in ray.nodes() if node["Alive"]])
"""
FILE = """
name: {name}
seed: {seed}
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: {trials}, epochs: {epochs}}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: auto, gpus: 0}}
checkpoint: {{every: {every}}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}}}
code: {{root: {root}}}
"""
ANYONE = "host all all 10.77.0.0/16 trust\n"


@dataclass
class RayCluster:
    """What runs on a network's machines.

    Attributes:
        network: machines `db`, `mlflow`, `head` and the workers.
        postgres: on `db`.
        stage: what the ledger says, read from outside.
    """

    network: Network
    postgres: Postgres
    stage: Stage

    @property
    def head(self) -> Machine:
        """Where the driver runs, too."""
        return self.network.machines["head"]

    @property
    def address(self) -> str:
        """Of the head."""
        return f"head:{PORT}"

    def join(
        self,
        machine: Machine,
        cpus: int,
        *,
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        """Ray on a machine, started with more words, and its answer waited for."""
        words = ["--head", f"--port={PORT}"] if machine is self.head else [f"--address={self.address}"]
        log = (machine.home / "ray.log").open("w")
        with log:
            machine.start(
                *ray("start", "--block", "--disable-usage-stats", f"--num-cpus={cpus}"),
                *words, *more, f"--node-ip-address={machine.address}", output=log, environment=environment,
            )  # fmt: skip
        if wait:
            until(lambda: machine.name in self.nodes(), START_LIMIT_S)

    def bring_back(self, sizes: Mapping[str, int]) -> None:
        """Ray again on machines that the cluster has given up."""
        for name in sizes.keys() - self.nodes():
            self.kill_ray(self.network.machines[name])
            self.join(self.network.machines[name], sizes[name])

    def sweep(
        self,
        file: str,
        output: IO[str] | int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """`velodrome sweep` of a file of the head's, on the head, without waiting for it."""
        words = ("-m", "flows.cli", "sweep", file, "--address", self.address)
        return self.head.start(sys.executable, *words, output=output, environment=environment)

    def drain(self, machine: Machine, within_s: int) -> None:
        """Tells the cluster that the machine will be gone, as a cloud does before it takes one back."""
        machine.check(
            *ray("drain-node"), f"--address={self.address}", "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=it is taken back", f"--deadline-remaining-seconds={within_s}",
        )  # fmt: skip

    def lanes(self, machine: Machine) -> list[int]:
        """Processes of lanes on a machine, as this one counts them."""
        return sorted(process.pid for process in machine.processes("ray::RayTrainWorker"))

    def kill_ray(self, machine: Machine) -> None:
        """SIGKILL to Ray on a machine and to all that it started there; the machine stays."""
        for process in machine.processes("ray"):
            kill(process.pid)

    def nodes(self) -> set[str]:
        """Names of the machines whose Ray is alive."""
        done = self.head.run(sys.executable, "-c", ASK_NODES)
        alive = set(done.stdout.split()) if done.returncode == 0 else set()
        return {name for name, machine in self.network.machines.items() if alive & {name, machine.address}}


def scripted_sweep(name: str, trials: int, epochs: int, seed: int = 0, every: str = "1 epoch") -> str:
    """A sweep file whose trials take `SCRIPTED_SLEEP` seconds an epoch, on every lane there is room for."""
    return FILE.format(name=name, seed=seed, trials=trials, epochs=epochs, every=every, root=ROOT)


def ray(*words: str) -> tuple[str, ...]:
    """Words of one of Ray's own commands."""
    return (sys.executable, "-m", "ray.scripts.scripts", *words)


@contextlib.contextmanager
def start_cluster(folder: Path, sizes: Mapping[str, int], **environment: str) -> Iterator[RayCluster]:
    """A cluster whose machines have so many processors, `head` among them, for as long as the block lasts."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    with (
        make_network(folder, ["db", "mlflow", *sizes]) as network,
        tempfile.TemporaryDirectory(prefix="velodrome-pg-") as files,
    ):
        token = folder / "ray_token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        db, tracking = network.machines["db"], network.machines["mlflow"]
        postgres = Postgres(Path(files), programs, 5432, host=db.address, within=db.within(Path(files)))
        postgres.make(more_hosts=ANYONE)
        postgres.start()
        database = postgres.database().rpartition("/")[2]
        network.environment |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "VELODROME_LEDGER": f"postgresql+psycopg://velodrome@db:5432/{database}",
            "VELODROME_STORAGE": str(network.shared / "velodrome"),
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "RAY_raylet_start_wait_time_s": "120",
            "OMP_NUM_THREADS": "1",
        }
        network.environment |= environment
        start_tracking(tracking)
        network.plug_this_machine()
        stage = Stage(folder, ledger_url=postgres.url(database), tracking_path=tracking.home / "mlflow.db")
        cluster = RayCluster(network, postgres, stage)
        for name, cpus in sizes.items():
            cluster.join(network.machines[name], cpus)
        yield cluster


def start_tracking(machine: Machine) -> None:
    """`mlflow server` on a machine; it is up when it answers."""
    with (machine.home / "mlflow.log").open("w") as log:
        machine.start(
            sys.executable, "-m", "mlflow", "server", "--host", "0.0.0.0", "--port", "5000",
            "--allowed-hosts", "mlflow:*,localhost:*", "--workers", "1",
            "--backend-store-uri", f"sqlite:///{machine.home}/mlflow.db",
            "--artifacts-destination", str(machine.home / "artifacts"), output=log,
        )  # fmt: skip
    ask = "from urllib.request import urlopen; urlopen('http://localhost:5000/health', timeout=5)"
    machine.wait_for(sys.executable, "-c", ask)
