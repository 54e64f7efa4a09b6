"""What nodes report is judged the same in each of many odd cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.places.judging import NodeReport, host_names, judge_nodes

SOFTWARE = {"python": "3.11.2", "ray": "2.60.0", "torch": "2.13.0", "velodrome": "0.2.0", "code": "abc"}
HEAD = NodeReport(node="head-id-1", host="head", software=SOFTWARE, clock_offset_s=0.0)
WORKER = replace(HEAD, node="work-id-2", host="w1")


def findings(*workers: NodeReport, head: NodeReport = HEAD) -> list[tuple[str, str]]:
    found = judge_nodes([head, *workers], driver=head.node, software=SOFTWARE)
    assert all(finding.do for finding in found)
    return [(finding.host, finding.found) for finding in found]


def test_nodes_that_are_alike_are_well() -> None:
    assert findings(WORKER, replace(WORKER, node="w-3", host="w2", gpus=2.0, gpus_seen=4)) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"failure": "no answer within 60 s"}, "no answer within 60 s"),
        ({"storage": "/mnt: Permission denied"}, "storage: /mnt: Permission denied"),
        ({"unseen": ("head-id-1",)}, "storage: what head wrote is not there"),
        ({"unseen": ("gone-id-9", "head-id-1")}, "storage: what head wrote is not there"),
        ({"unseen": ("gone-id-9",)}, "storage: what gone-id- wrote is not there"),
        ({"ledger": "connection refused"}, "ledger: connection refused"),
        ({"tracking": "mlflow:5000: timed out"}, "tracking: mlflow:5000: timed out"),
        ({"clock_offset_s": 3.25}, "its clock is 3.2 s ahead"),
        ({"clock_offset_s": -90.0, "clock_error_s": 2.0}, "its clock is 90.0 s behind"),
        ({"gpus": 2.0, "gpus_seen": 0}, "Ray counts 2 GPU there, torch sees 0"),
        ({"software": {**SOFTWARE, "python": "3.12.1"}}, "python 3.12.1 there, 3.11.2 here"),
        ({"software": {**SOFTWARE, "ray": "2.59.1"}}, "ray 2.59.1 there, 2.60.0 here"),
        ({"software": {**SOFTWARE, "torch": "2.13.0+cu126"}}, "torch 2.13.0+cu126 there, 2.13.0 here"),
        ({"software": {**SOFTWARE, "code": "abd"}}, "Velodrome's files abd there, abc here"),
        ({"software": {**SOFTWARE, "velodrome": "0.1.0", "code": "x"}}, "velodrome 0.1.0 there, 0.2.0 here"),
    ],
)
def test_difference_between_nodes_is_told_of_its_node(change: dict[str, Any], found: str) -> None:
    assert findings(replace(WORKER, **change)) == [("w1", found)]


@pytest.mark.parametrize(
    "change",
    [
        {"clock_offset_s": 0.99}, {"clock_offset_s": None}, {"clock_offset_s": -4.0, "clock_error_s": 3.5},
        {"gpus": 1.0, "gpus_seen": 1}, {"gpus": 4.0, "gpus_seen": None},
    ],
)  # fmt: skip
def test_value_within_limits_or_not_known_is_no_fault(change: dict[str, Any]) -> None:
    assert findings(replace(WORKER, **change)) == []


def test_package_that_is_missing_there_is_told() -> None:
    without = {name: version for name, version in SOFTWARE.items() if name != "torch"}
    assert findings(replace(WORKER, software=without)) == [("w1", "torch not installed there, 2.13.0 here")]


def test_nodes_on_one_host_are_told_apart() -> None:
    twin = replace(WORKER, node="twin-id-33", storage="full")
    assert findings(WORKER, twin) == [("w1 (twin-id-)", "storage: full")]
    assert host_names([HEAD, WORKER, twin])["head-id-1"] == "head"


def test_storage_that_no_other_node_shares_is_told_of_each() -> None:
    """The head sees itself alone: the others do not see it, and it does not see them."""
    others = [replace(WORKER, node=f"n{n}", host=f"w{n}", unseen=(HEAD.node,)) for n in (1, 2)]
    head = replace(HEAD, unseen=("n1", "n2"))
    assert findings(*others, head=head) == [
        ("head", "storage: what w1, w2 wrote is not there"),
        ("w1", "storage: what head wrote is not there"),
        ("w2", "storage: what head wrote is not there"),
    ]


REPORTS = st.builds(
    NodeReport,
    node=st.sampled_from(["a", "b", "c"]),
    host=st.sampled_from(["", "one", "two"]),
    failure=st.sampled_from(["", "No module named 'infra'"]),
    software=st.fixed_dictionaries({}, optional={name: st.sampled_from(["1", "2"]) for name in SOFTWARE}),
    clock_offset_s=st.none() | st.floats(-1e6, 1e6),
    clock_error_s=st.floats(0, 10),
    gpus=st.sampled_from([0.0, 0.5, 8.0]),
    gpus_seen=st.none() | st.integers(0, 8),
    storage=st.sampled_from(["", "full"]),
    unseen=st.lists(st.sampled_from(["a", "b", "z"]), unique=True).map(tuple),
)


@given(st.lists(REPORTS, max_size=4))
def test_any_reports_are_judged_and_a_silent_node_once(reports: list[NodeReport]) -> None:
    found = judge_nodes(reports, driver="a", software=SOFTWARE)
    assert all(finding.host and finding.found and finding.do for finding in found)
    silent = sum(bool(report.failure) for report in reports)
    assert sum("No module named" in finding.found for finding in found) == silent
