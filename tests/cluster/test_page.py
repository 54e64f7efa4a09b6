"""The page of clusters, typed word by word on machines in namespaces: what it tells to do ends in a sweep."""

from __future__ import annotations

import json
import secrets
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.machines import Machine, Network, make_network
from tests.cluster.test_deploy import PROGRAMS, WITH_PASSWORD, mount_points, probe, wait_for_nodes
from tests.docs.pages import ROOT, blocks
from tests.faults.harness import until
from tests.postgres import Postgres, binaries

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.long]
PAGE = ROOT / "docs" / "cluster.md"
START_LIMIT_S = 300.0


def page_lines() -> Iterator[str]:
    """The page's commands in their order, `HEAD` being this network's `head`."""
    for block in blocks(PAGE, "console"):
        for line in block.splitlines():
            yield line.removeprefix("$ ").replace("HEAD", "head")


@dataclass
class Typist:
    """Who types them, each on the machine that the page names.

    Attributes:
        exports: of each machine, typed before what follows there.
    """

    network: Network
    lines: list[str] = field(default_factory=lambda: list(page_lines()))
    exports: dict[str, list[str]] = field(default_factory=dict)

    def take(self, start: str) -> str:
        """The page's next line, which must begin so; those before it are left out."""
        while self.lines and not self.lines[0].startswith(start):
            self.lines.pop(0)
        assert self.lines, f"the page has no line that begins with {start!r} any more"
        return self.lines.pop(0)

    def export(self, name: str, line: str) -> None:
        """For all that is typed on a machine from now on."""
        self.exports.setdefault(name, []).append(line)

    def type(self, name: str, line: str, answers: str = "", limit_s: float = 900.0) -> str:
        """A line on a machine, with what it asks for; what it prints."""
        given = f"printf {shlex.quote(answers)} | {line}" if answers else line
        return self.network.machines[name].check("bash", "-c", self.script(name, given), limit_s=limit_s)

    def script(self, name: str, line: str) -> str:
        """What was exported there, and a line; lines end with the page's remarks."""
        return "\n".join([*self.exports.get(name, []), line])


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Typist]:
    """Machines that know each other's names, a folder that all share, and a server of databases."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    names = ["db", "mlflow", "head", "worker", "laptop"]
    with (
        mount_points("/shared"),
        make_network(tmp_path, names) as network,
        tempfile.TemporaryDirectory(prefix="velodrome-pg-") as files,
    ):
        shared = {"PATH": f"{PROGRAMS['PATH']}:{programs}", "RAY_raylet_start_wait_time_s": "120"}
        for machine in network.machines.values():
            machine.environment = PROGRAMS | shared | {"LEDGER_PASSWORD": secrets.token_hex(16)}
            machine.mount(network.shared, "/shared")
        password = network.machines["db"].environment["LEDGER_PASSWORD"]
        for machine in network.machines.values():
            machine.environment["LEDGER_PASSWORD"] = password
        make_server(network.machines["db"], Path(files), programs)
        yield Typist(network)


def make_server(machine: Machine, files: Path, programs: Path) -> None:
    """PostgreSQL as its administrator finds it: no role and no database of ours, others need a password."""
    made = Postgres(files, programs, 5432, host=machine.address, within=machine.within(files))
    made.make(more_hosts=WITH_PASSWORD)
    made.start()
    made.ask("CREATE USER admin SUPERUSER")
    machine.environment |= {"PGUSER": "admin", "PGHOST": "127.0.0.1", "PGDATABASE": "postgres"}
    machine.check("psql", "-c", "ALTER ROLE velodrome RENAME TO first")


def write_file(machine: Machine, name: str) -> None:
    """The page's sweep file, with a smaller budget."""
    (text,) = (block for block in blocks(PAGE, "yaml") if block.startswith("name: digits"))
    small = text.replace("{trials: 100, epochs: 20}", "{trials: 4, epochs: 1}")
    assert small != text
    (machine.home / "digits.yaml").write_text(small.replace("name: digits", f"name: {name}", 1))


def check_finished(typist: Typist, name: str) -> None:
    """As the head's own command tells it."""
    ledger = 'export VELODROME_LEDGER="postgresql+psycopg://velodrome:$LEDGER_PASSWORD@db/velodrome"'
    told = json.loads(typist.type("head", f"{ledger}\nvelodrome status {name} --json"))
    assert told["state"] == "finished"
    assert {trial["state"] for trial in told["trials"]} <= {"complete", "pruned"}
    assert len(told["trials"]) == 4


def test_page_of_clusters_typed_word_by_word_ends_in_finished_sweeps(typist: Typist, tmp_path: Path) -> None:
    machines = typist.network.machines
    password = machines["db"].environment["LEDGER_PASSWORD"]
    typist.type("head", typist.take("(umask 077;"))
    token = (machines["head"].home / "ray_token").read_text()
    for name in ("head", "worker", "laptop"):
        (machines[name].home / "ray_token").write_text(token)
        (machines[name].home / "ray_token").chmod(0o600)
    exports = typist.take("export RAY_AUTH_MODE")
    for name in ("head", "worker", "laptop"):
        typist.export(name, exports)
        token_path = str(machines[name].home / "ray_token")  # for what this test itself asks there
        machines[name].environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token_path}
    typist.type("db", typist.take("createuser"), answers=f"{password}\n{password}\n")
    typist.type("db", typist.take("createdb"))
    typist.type("db", typist.take("createdb"))
    typist.export("mlflow", typist.take("export MLFLOW_BACKEND_STORE_URI"))
    with (machines["mlflow"].home / "mlflow.log").open("w") as log:
        script = typist.script("mlflow", typist.take("mlflow server"))
        machines["mlflow"].start("bash", "-c", script, output=log)
    until(lambda: probe(machines["head"], "http://mlflow:5000/health") is not None, START_LIMIT_S)
    typist.type("head", typist.take("ray start --head"))
    typist.type("worker", typist.take("ray start --address"))
    wait_for_nodes(machines["head"], 2)
    for name, sweep in (("head", "digits"), ("laptop", "submitted")):
        write_file(machines[name], sweep)
    typist.type("head", typist.take("velodrome doctor"))
    typist.type("head", typist.take("velodrome plan"))
    typist.type("head", typist.take("velodrome sweep"))
    check_finished(typist, "digits")
    typist.type("laptop", typist.take("velodrome submit"))
    check_finished(typist, "submitted")
    write_file(machines["laptop"], "by-ray")
    typist.type("laptop", typist.take("ray job submit"))
    check_finished(typist, "by-ray")
    for path in tmp_path.rglob("*.log"):
        assert password not in path.read_text(errors="replace"), path
    for machine in machines.values():
        assert password not in machine.check("ps", "axww", "-o", "args")
