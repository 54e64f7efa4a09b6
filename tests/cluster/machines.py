"""Machines on this one: each with a network, host name, processes, `/tmp/ray` and shared memory of its own.

Each is a process that holds Linux namespaces. When it is killed the kernel ends all that runs on its machine:
nothing is left behind, and nothing of another machine or of this one can be ended by mistake.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.faults.harness import ROOT, until

LIMIT_S = 120.0
HELD = ("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
FIRST = ("bash", "-c", "sleep infinity & wait")  # it takes in the processes that others leave
OWN_FOLDERS = ("/tmp/ray", "/dev/shm")  # Ray's sessions and objects, in memory of the machine's own


@dataclass
class Machine:
    """One of them.

    Attributes:
        address: on the switch.
        home: `VELODROME_HOME` and `HOME` lie in it.
    """

    name: str
    address: str
    home: Path
    environment: dict[str, str]
    holder: subprocess.Popen[bytes]
    port: str = ""  # its end at the switch
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The first process of it."""
        (first,) = psutil.Process(self.holder.pid).children()
        return int(first.pid)

    def within(self, folder: Path) -> tuple[str, ...]:
        """What stands before a command's words to run it there, in a folder."""
        return ("nsenter", "--target", str(self.pid), "--all", f"--wd={folder}", "--")

    def start(
        self,
        *words: str,
        output: IO[str] | int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """A command there, without waiting for it; `environment` is added to the machine's."""
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        own = {"HOME": str(self.home), "VELODROME_HOME": str(self.home / "velodrome"), "PYTHONPATH": paths}
        process = subprocess.Popen(
            [*self.within(self.home), *words],
            env=os.environ | own | self.environment | dict(environment or {}), text=True,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *words: str, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        """A command there, to its end."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def velodrome(self, *words: str, limit_s: float = 800.0) -> subprocess.CompletedProcess[str]:
        """One of the product's commands there."""
        return self.run(sys.executable, "-m", "flows.cli", *words, limit_s=limit_s)

    def check(self, *words: str, limit_s: float = LIMIT_S) -> str:
        """What a command prints that must end with 0."""
        done = self.run(*words, limit_s=limit_s)
        assert done.returncode == 0, f"{self.name}: {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait_for(self, *words: str, limit_s: float = 2 * LIMIT_S) -> None:
        """Runs a command there again and again until it ends with 0."""
        until(lambda: self.run(*words).returncode == 0, limit_s)

    def mount(self, folder: Path, at: str) -> None:
        """A folder of this machine's, seen there at another path."""
        self.check("mount", "--bind", str(folder), at)

    def processes(self, words: str) -> list[psutil.Process]:
        """What runs there whose command holds these words, whoever started it."""
        own, found = os.readlink(f"/proc/{self.pid}/ns/pid"), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, OSError):  # gone, or not ours
                there = os.readlink(f"/proc/{process.pid}/ns/pid") == own
                if there and words in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def end(self) -> None:
        """As when its power is cut."""
        self.holder.kill()
        self.holder.wait()
        for process in self.started:
            process.wait(LIMIT_S)
            for pipe in filter(None, (process.stdout, process.stderr)):
                pipe.close()


@dataclass
class Network:
    """A switch and what is plugged into it; `10.77.N.0/24`, so that two of them do not meet.

    Attributes:
        shared: a folder that all machines see at one path.
    """

    folder: Path
    number: int
    switch: subprocess.Popen[bytes]
    environment: dict[str, str] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """The folder of all."""
        made = self.folder / "shared"
        made.mkdir(exist_ok=True)
        return made

    @property
    def _at_switch(self) -> tuple[str, ...]:
        (first,) = psutil.Process(self.switch.pid).children()
        return ("nsenter", "--target", str(first.pid), "--net", "--")

    def add(self, name: str) -> Machine:
        """One more machine, which knows the others by their names."""
        place = len(self.machines) + 1
        home = self.folder / name
        home.mkdir()
        machine = Machine(
            name=name,
            address=f"10.77.{self.number}.{place}",
            home=home,
            environment=self.environment,
            holder=hold(),
            port=f"port{place}",
        )
        self.machines[name] = machine
        self._write_hosts()
        self._plug(machine)
        for folder in OWN_FOLDERS:
            Path(folder).mkdir(exist_ok=True)
            machine.check("mount", "-t", "tmpfs", "tmpfs", folder)
        machine.check("mount", "--bind", str(self._hosts), "/etc/hosts")
        machine.check("hostname", name)
        return machine

    def plug_this_machine(self) -> None:
        """The tests' own processes reach the others by their addresses."""
        (switch,) = psutil.Process(self.switch.pid).children()
        name = f"velodrome{self.number}"  # it goes with the switch
        run("ip", "link", "add", "here", "netns", str(switch.pid), "type", "veth", "peer", "name", name)
        run(*self._at_switch, "ip", "link", "set", "here", "master", "switch", "up")
        run("ip", "address", "add", f"10.77.{self.number}.254/24", "dev", name)
        run("ip", "link", "set", name, "up")

    def unplug(self, machine: Machine) -> None:
        """Nothing reaches it, and it reaches nothing, until `plug_again`: no connection is told so."""
        run(*self._at_switch, "ip", "link", "set", machine.port, "down")

    def plug_again(self, machine: Machine) -> None:
        """As before `unplug`."""
        run(*self._at_switch, "ip", "link", "set", machine.port, "up")

    def _plug(self, machine: Machine) -> None:
        (switch,) = psutil.Process(self.switch.pid).children()
        within = ("nsenter", "--target", str(machine.pid), "--net", "--", "ip")
        ends = ("netns", str(switch.pid), "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        run("ip", "link", "add", machine.port, *ends)
        run(*self._at_switch, "ip", "link", "set", machine.port, "master", "switch", "up")
        run(*within, "link", "set", "lo", "up")
        run(*within, "address", "add", f"{machine.address}/24", "dev", "eth0")
        run(*within, "link", "set", "eth0", "up")

    @property
    def _hosts(self) -> Path:
        return self.folder / "hosts"

    def _write_hosts(self) -> None:
        names = [f"{machine.address} {machine.name}" for machine in self.machines.values()]
        # The same file for all: it is written in place, since machines that are up have it mounted.
        with self._hosts.open("w") as file:
            file.write("\n".join(["127.0.0.1 localhost", *names]) + "\n")


def hold() -> subprocess.Popen[bytes]:
    """A process that holds namespaces of its own, once they are there."""
    holder = subprocess.Popen([*HELD, *FIRST], stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + LIMIT_S
    while not (children := psutil.Process(holder.pid).children()) or children[0].name() != FIRST[0]:
        assert holder.poll() is None, "namespaces cannot be made"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return holder


def run(*words: str) -> None:
    """A command that must end with 0."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


def why_not() -> str:
    """What this machine lacks to hold others; empty where it can."""
    needed = ("unshare", "nsenter", "ip", "mount", "hostname", "setpriv")
    if lacking := [program for program in needed if shutil.which(program) is None]:
        return f"{', '.join(lacking)} must be installed"
    bridge = "mount -t tmpfs tmpfs /dev/shm && ip link add switch type bridge && hostname tried"
    wire = f"ip link add tried{os.getpid() % 10_000} type veth peer name other"
    for words in ([*HELD, "sh", "-c", f"{bridge} && {wire}"], ["unshare", "--net", "sh", "-c", wire]):
        tried = subprocess.run(words, capture_output=True, text=True)
        if tried.returncode != 0:
            return tried.stderr.strip() or f"{words} ended with {tried.returncode}"
    return "" if os.geteuid() == 0 else "only the superuser may add a wire to this machine's own network"


@contextlib.contextmanager
def make_network(folder: Path, names: Sequence[str]) -> Iterator[Network]:
    """Machines of these names for as long as the block lasts; the test is skipped where none can be made."""
    if lacking := why_not():
        pytest.skip(f"machines in namespaces cannot be made here: {lacking}")
    network = Network(folder=folder, number=os.getpid() % 254 + 1, switch=hold())
    try:
        run(*network._at_switch, "ip", "link", "add", "switch", "type", "bridge")
        run(*network._at_switch, "ip", "link", "set", "switch", "up")
        for name in names:
            network.add(name)
        yield network
    finally:
        for machine in network.machines.values():
            machine.end()
        network.switch.kill()
        network.switch.wait()
