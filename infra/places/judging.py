"""What is wrong with the nodes of a cluster: a pure decision over what each of them reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

CLOCK_LIMIT_S = 1.0
MOUNT_IT = "mount it there, with the right to write"
SAME_SOFTWARE = {
    "python": "start its Ray from the same Python",
    "ray": "install the same Ray there",
    "torch": "install the same torch there (constraints.txt)",
    "velodrome": "install the same Velodrome there",
    "code": "install the same Velodrome there: its version is the same and its files are not",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What one node said of itself.

    Attributes:
        node: Ray's id of it.
        failure: why it said nothing; empty where it did.
        software: versions by name, and under `code` a hash of Velodrome's files.
        clock_offset_s: how far its clock is ahead of the driver's; None where that was not measured.
        clock_error_s: how far that may be off: half of the fastest exchange.
        gpus: what Ray counts there; `gpus_seen`: what torch sees, None where nobody asked it.
        storage, ledger, tracking: what went wrong there; empty where nothing did or none was asked for.
        unseen: nodes whose file in the storage this one cannot read.
    """

    node: str
    host: str
    failure: str = ""
    software: Mapping[str, str] = field(default_factory=dict)
    clock_offset_s: float | None = None
    clock_error_s: float = 0.0
    gpus: float = 0.0
    gpus_seen: int | None = None
    storage: str = ""
    ledger: str = ""
    tracking: str = ""
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFinding:
    """One thing that is wrong with a node, and what to do about it."""

    host: str
    found: str
    do: str


def judge_nodes(
    reports: Sequence[NodeReport], *, driver: str, software: Mapping[str, str]
) -> list[NodeFinding]:
    """What differs on a node from what a sweep needs; empty where all is well.

    Args:
        driver: the node of the process that asks: the others are compared with it.
        software: of that process.
    """
    names = host_names(reports)
    return [
        NodeFinding(host=names[report.node], found=found, do=do)
        for report in reports
        for found, do in _judge_node(report, driver, software, names)
    ]


def host_names(reports: Sequence[NodeReport]) -> dict[str, str]:
    """A name for people of each node: its host's, with some of its id where several are on one host."""
    hosts = [report.host for report in reports]
    return {
        report.node: report.host if report.host and hosts.count(report.host) == 1
        else f"{report.host or 'a node'} ({report.node[:8]})"
        for report in reports
    }  # fmt: skip


def _judge_node(
    report: NodeReport, driver: str, software: Mapping[str, str], names: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    if report.failure:
        yield report.failure, _advise_failure(report.failure)
        return
    yield from _judge_software(report, software)
    offset = report.clock_offset_s
    if offset is not None and abs(offset) - report.clock_error_s > CLOCK_LIMIT_S:
        way = "ahead" if offset > 0 else "behind"
        yield f"its clock is {abs(offset):.1f} s {way}", "set it by a time server (chrony, ntpd)"
    if report.gpus_seen is not None and report.gpus_seen < report.gpus:
        yield (
            f"Ray counts {report.gpus:g} GPU there, torch sees {report.gpus_seen}",
            "install a torch that fits the driver there, or start it with `ray start --num-gpus`",
        )
    yield from _judge_places(report, driver, names)


def _judge_software(report: NodeReport, software: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, do in SAME_SOFTWARE.items():
        here, there = software.get(name), report.software.get(name)
        if here == there or (
            name == "code" and report.software.get("velodrome") != software.get("velodrome")
        ):
            continue
        label = "Velodrome's files" if name == "code" else name
        yield f"{label} {there or 'not installed'} there, {here or 'not installed'} here", do


def _judge_places(report: NodeReport, driver: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if report.storage:
        there = "s3://" in report.storage
        do = "give it the store's address and keys (AWS_…), as the others have them" if there else MOUNT_IT
        yield f"storage: {report.storage}", do
    unseen = [driver] if driver in report.unseen else list(report.unseen)
    if unseen:
        hosts = ", ".join(names.get(node, node[:8]) for node in unseen[:3])
        yield f"storage: what {hosts} wrote is not there", "mount the same folder on both"
    if report.ledger:
        yield f"ledger: {report.ledger}", "let it through the firewall, and name a host that it knows"
    if report.tracking:
        yield f"tracking: {report.tracking}", "let it through the firewall, and name a host that it knows"


def _advise_failure(failure: str) -> str:
    if "No module named" in failure:
        return "install this Velodrome in the environment that `ray start` runs in there"
    return "is the node healthy? `ray status` and its log tell; or take it out of the cluster"
