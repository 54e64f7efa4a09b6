"""status, show, logs, compare: documents field by field, honest states, what is printed where."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from flows.sweeps.views.logs import follow_logs
from flows.sweeps.views.show import learning_curve
from flows.sweeps.views.status import status
from flows.sweeps.views.status_screens import describe_failures
from infra.ledger.batch import WriteBatch
from infra.ledger.store import Ledger
from infra.spec import Resources
from infra.storage.paths import files_folder, kept_folder
from tests.flows.ledger_sweeps import (
    ACCURACY,
    LATENCY,
    dead_owner,
    living_owner,
    set_owner,
    spec_of,
    trial_of,
    write_logs,
    write_sweep,
)


def document(ended):
    assert ended.status == 0, ended.err
    return json.loads(ended.out)


def test_status_json_has_the_keys_of_the_contract(home, velodrome):
    write_sweep(home)
    found = document(velodrome("status", "digits", "--json"))
    assert list(found)[:5] == ["sweep", "state", "objective", "trials", "best"]
    assert found["sweep"] == "digits"
    assert found["state"] == "finished"
    assert found["objective"] == {"metric": "val/accuracy", "direction": "maximize", "at": "best"}
    assert found["best"] == {"family": "image_cnn", "number": 1, "value": 0.985}
    assert found["test_reads"] == 0
    trial = found["trials"][0]
    assert list(trial) == [
        "family", "number", "state", "params", "value", "epochs", "attempts", "seconds",
        "reason", "mlflow_run_id", "place",
    ]  # fmt: skip
    assert (trial["family"], trial["number"], trial["value"], trial["epochs"]) == ("text_cnn", 0, 0.91, 5)
    failed = found["trials"][1]
    assert failed["state"] == "failed"
    assert failed["value"] is None
    assert failed["reason"].startswith("out-of-memory")


def test_status_of_several_objectives_has_values_and_front(home, velodrome):
    values = [(0.9, 1.2), (0.8, 0.3), (0.7, 0.5)]
    trials = tuple(trial_of("text_cnn", n, "complete", objective=list(v)) for n, v in enumerate(values))
    write_sweep(home, spec_of(objectives=(ACCURACY, LATENCY)), trials=trials)
    found = document(velodrome("status", "digits", "--json"))
    assert "best" not in found
    assert found["front"] == [
        {"family": "text_cnn", "number": 0, "values": [0.9, 1.2]},
        {"family": "text_cnn", "number": 1, "values": [0.8, 0.3]},
    ]
    assert [goal["metric"] for goal in found["objective"]] == ["val/accuracy", "latency_ms"]
    assert found["trials"][0]["values"] == [0.9, 1.2]
    assert "value" not in found["trials"][0]


@pytest.mark.parametrize(("owner", "state"), [(None, "stopped"), ("dead", "stopped"), ("living", "running")])
def test_status_of_sweep_with_dead_driver_is_stopped(home, velodrome, owner, state):
    sweep = write_sweep(home, state="running")
    if owner is not None:
        set_owner(home, sweep, dead_owner() if owner == "dead" else living_owner())
    found = document(velodrome("status", "digits", "--json"))
    assert found["state"] == state
    assert bool(found["note"]) == (state == "stopped")
    last = found["trials"][-1]["state"]
    assert last == ("running" if state == "running" else "waiting")
    (line,) = document(velodrome("status", "--json"))["sweeps"]
    assert line["state"] == state
    assert line["trials"] == {
        "complete": 3, "pruned": 1, "failed": 1, "running": int(state == "running"),
        "waiting": int(state == "stopped"), "planned": 8,
    }  # fmt: skip


SHORTAGE = "2 lanes wait for 2 CPU on one node; free: 1 + 1"


@pytest.mark.parametrize(("owner", "running"), [("dead", False), ("living", True)])
def test_status_says_lanes_and_what_they_wait_for_while_the_sweep_runs(home, velodrome, owner, running):
    supply = {"planned": 5, "up": 3, "waits_for": SHORTAGE}
    sick = {"node": {"host": "w1", "times": 2, "why": "a disk of its node is full"}}
    sweep = write_sweep(home, state="running", facts={"lanes": supply, "sick_nodes": sick})
    set_owner(home, sweep, dead_owner() if owner == "dead" else living_owner())
    told = supply | {"sick": {"w1": "2 replaced: a disk of its node is full"}}
    assert document(velodrome("status", "digits", "--json"))["lanes"] == (told if running else None)
    shown = velodrome("status", "digits").out
    for words in (f"3 of 5 lanes are up; {SHORTAGE}", "sick lanes on w1, 2 replaced: a disk of its node"):
        assert (words in shown) == running


@pytest.mark.parametrize(("owner", "running"), [("dead", False), ("living", True)])
def test_status_says_that_lanes_are_starting_where_none_are_planned_yet(home, velodrome, owner, running):
    sweep = write_sweep(home, state="running")
    set_owner(home, sweep, dead_owner() if owner == "dead" else living_owner())
    assert ("lanes are starting\n" in velodrome("status", "digits").out) == running


def test_status_says_who_trains_until_lanes_are_up(home, velodrome):
    facts = {"place": {"host": "here", "lane": "head-start-0"}}
    sweep = write_sweep(home, state="running", trials=(trial_of("text_cnn", 0, "running", 0.5, facts=facts),))
    set_owner(home, sweep, living_owner())
    said = "lanes are starting; a process of the command trains until they are up\n"
    assert said in velodrome("status", "digits").out


def test_status_says_how_many_lanes_share_a_gpu_and_why(home, velodrome):
    why = "4 lanes a GPU, the largest trial so far took 3.1 GiB of 24.0 GiB"
    write_sweep(home, facts={"gpu_lanes": {"image_cnn": {"lanes": 4, "why": why}}})
    assert document(velodrome("status", "digits", "--json"))["gpu_lanes"] == {"image_cnn": why}
    assert f"image_cnn, gpus: auto: {why}" in velodrome("status", "digits").out


def test_status_of_a_sweep_without_gpus_says_nothing_of_them(home, velodrome):
    write_sweep(home)
    assert document(velodrome("status", "digits", "--json"))["gpu_lanes"] == {}
    assert "gpus" not in velodrome("status", "digits").out


def test_status_json_writes_non_finite_numbers_as_null(home, velodrome):
    write_sweep(home, trials=(trial_of("text_cnn", 0, "pruned", float("inf")),))
    assert document(velodrome("status", "digits", "--json"))["trials"][0]["value"] is None


def test_status_of_empty_home_is_no_error(home, velodrome):
    assert document(velodrome("status", "--json"))["sweeps"] == []
    assert "velodrome new" in velodrome("status").out
    assert not home.path.exists()


def test_sweep_name_without_version_means_the_newest(home):
    write_sweep(home)
    write_sweep(home, spec_of(version=2), trials=())
    assert status("digits").sweep == "digits@2"
    assert len(status("digits@1").trials) == 6


def test_tables_show_markup_as_text(home, velodrome):
    write_sweep(home)
    out = velodrome("status", "digits").out
    assert "[bold]asked[/bold]" in out
    assert "0.985" in out
    assert "velodrome show digits --family image_cnn --trial 1" in out


def test_status_and_show_escape_control_characters_of_errors(home, velodrome):
    evil = "error: \x1b[2J\x1b]0;title\x07 \u202egnp.exe"
    write_sweep(home, trials=(trial_of("text_cnn", 0, "failed", reason=evil, params={"a": evil}),))
    for command in (("status", "digits"), ("show", "digits", "--trial", "0")):
        out = velodrome(*command).out
        assert "error: \\x1b[2J" in out
        assert not {"\x1b", "\x07", "\u202e"} & set(out)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_are_no_wider_than_the_screen(home, velodrome, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    write_sweep(home)
    for command in (("status",), ("compare", "digits"), ("show", "digits", "--trial", "2")):
        lines = velodrome(*command).out.splitlines()
        rows = [line for line in lines if "───" in line]
        assert rows
        assert max(map(len, rows)) <= width


def test_show_names_the_folder_that_own_code_wrote_to(home, velodrome):
    write_sweep(home)
    asked = ("show", "digits", "--family", "image_cnn", "--trial", "1")
    assert document(velodrome(*asked, "--json"))["directory"] is None
    folder = home.storage / files_folder("digits", "search", "image_cnn", 1)
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_text("weights")
    assert document(velodrome(*asked, "--json"))["directory"] == str(folder)
    assert "last.ckpt" not in velodrome(*asked).out
    assert "files" in velodrome(*asked).out


def test_show_names_the_copy_of_what_a_trial_keeps(home, velodrome):
    write_sweep(home)
    asked = ("show", "digits", "--family", "image_cnn", "--trial", "1")
    assert document(velodrome(*asked, "--json"))["kept"] is None
    folder = home.storage / kept_folder("digits", "search", "image_cnn", 1)
    (folder / "out").mkdir(parents=True)
    assert document(velodrome(*asked, "--json"))["kept"] == str(folder)
    assert "kept" in velodrome(*asked).out


def test_show_prints_the_whole_of_one_trial(home, velodrome):
    write_sweep(home)
    write_logs(home)
    found = document(velodrome("show", "digits", "--family", "image_cnn", "--trial", "1", "--json"))
    assert found["params"]["learning_rate"] == 0.006
    assert found["value"] == 0.985
    assert [point["epoch"] for point in found["curve"]] == [1, 2, 3, 4, 5]
    assert found["curve"][2]["metrics"]["val/accuracy"] == 0.985
    (attempt,) = found["attempts"]
    assert attempt["outcome"] == "complete"
    assert attempt["lane"] == "lane-0"
    assert found["model"] == str(home.storage / "digits/models/image_cnn-1")
    assert found["logs"] == [str(home.logs / "digits/image_cnn-0001-1.log")]
    text = velodrome("show", "digits", "--family", "image_cnn", "--trial", "1").out
    assert "val/accuracy 0.985 (epoch 3)" in text


def test_show_asks_which_family_is_meant(home, velodrome):
    write_sweep(home)
    ended = velodrome("show", "digits", "--trial", "0")
    assert ended.status == 2
    assert "--family text_cnn" in ended.err
    assert velodrome("show", "digits", "--trial", "9").status == 2
    assert "it has text_cnn, image_cnn" in velodrome("show", "digits", "--trial", "0", "--family", "rnn").err


def test_curve_of_epoch_trained_twice_keeps_the_later_report():
    curve = learning_curve([(1, {"a": 1.0}), (2, {"a": 2.0}), (2, {"a": 2.5})])
    assert [point.metrics["a"] for point in curve] == [1.0, 2.5]


def test_logs_prints_those_of_driver_and_of_trial(home, velodrome):
    write_sweep(home)
    write_logs(home)
    assert velodrome("logs", "digits").out == "lanes are up\n"
    ended = velodrome("logs", "digits", "--trial", "1", "--family", "image_cnn")
    assert ended.out == "epoch 1\nepoch 2 ✓\n"
    assert "image_cnn trial 1, attempt 1" in ended.err
    (file,) = document(velodrome("logs", "digits", "--trial", "1", "--json"))["files"]
    assert (file["family"], file["attempt"], file["text"]) == ("image_cnn", 1, "epoch 1\nepoch 2 ✓\n")


def test_failed_trials_are_told_at_the_end_with_their_commonest_reason(home):
    reasons = (
        "error: the code of hb.plane must be …",
        "timeout: no step",
        "error: the code of hb.plane must be …",
    )
    failed = [trial_of("image_cnn", n, "failed", reason=reason) for n, reason in enumerate(reasons)]
    write_sweep(home, trials=(*failed, trial_of("image_cnn", 3, "complete", 0.9)))
    told = describe_failures(status("digits", home=home))
    assert told == (
        "3 trials failed, 2 of them by error: the code of hb.plane must be …; "
        "`velodrome retry digits` makes them again"
    )
    write_sweep(home, spec_of("one"), trials=(failed[1],))
    one = describe_failures(status("one", home=home))
    assert one == "1 trial failed by timeout: no step; `velodrome retry one` makes them again"
    write_sweep(home, spec_of("none"), trials=(trial_of("image_cnn", 3, "complete", 0.9),))
    assert describe_failures(status("none", home=home)) == ""


def test_logs_of_a_trial_come_in_the_order_of_its_attempts(home, velodrome):
    """The clock was set back between two."""
    sweep = write_sweep(home, trials=(trial_of("image_cnn", 1, "complete", 0.9),))
    folder = write_logs(home)
    (folder / "image_cnn-0001-2.log").write_text("epoch 3\n")
    ledger, batch = Ledger(home.ledger_url), WriteBatch()
    batch.set_attempt(
        f"{sweep}-search-image_cnn-1-2", role="search", family="image_cnn", number=1, ordinal=2,
        lane="lane-0", lane_facts="{}", started_at=1.0,
    )  # fmt: skip
    ledger.add_events(sweep, batch)
    ledger.close()
    assert velodrome("logs", "digits", "--trial", "1").out == "epoch 1\nepoch 2 ✓\nepoch 3\n"


def test_logs_of_a_trial_have_each_of_its_ranks(home, velodrome):
    workers = replace(spec_of().families[1], resources=Resources(workers=2))
    write_sweep(home, replace(spec_of(), families=(spec_of().families[0], workers)))
    write_logs(home)
    (home.logs / "digits" / "image_cnn-0001-1.log.rank1").write_text("of the second\n")
    ended = velodrome("logs", "digits", "--trial", "1", "--family", "image_cnn")
    assert ended.out == "epoch 1\nepoch 2 ✓\nof the second\n"
    assert "image_cnn trial 1, attempt 1, rank 1 (" in ended.err
    files = document(velodrome("logs", "digits", "--trial", "1", "--json"))["files"]
    assert [(file["rank"], file["text"]) for file in files][1:] == [(1, "of the second\n")]


def test_logs_that_are_missing_are_reported_with_their_folder(home, velodrome):
    write_sweep(home)
    ended = velodrome("logs", "digits", "--trial", "0")
    assert ended.status == 2
    assert str(home.logs / "digits") in ended.err
    assert "--trial N" in velodrome("logs", "digits").err
    assert document(velodrome("logs", "digits", "--json")) == {"sweep": "digits", "files": []}


def test_logs_of_lanes_elsewhere_are_read_from_the_storage_that_they_share(home, velodrome, tmp_path):
    storage = tmp_path / "shared"
    write_sweep(home, replace(spec_of(), storage=str(storage)))
    folder = storage / "digits" / ".logs"
    folder.mkdir(parents=True)
    (folder / "driver.log").write_text("lanes are up\n")
    (folder / "image_cnn-0001-1.log").write_text("Traceback of a node that is gone\n")
    assert velodrome("logs", "digits").out == "lanes are up\n"
    asked = ("--family", "image_cnn", "--trial", "1")
    assert velodrome("logs", "digits", *asked).out == "Traceback of a node that is gone\n"
    shown = document(velodrome("show", "digits", *asked, "--json"))
    assert shown["logs"] == [str(folder / "image_cnn-0001-1.log")]
    missing = velodrome("logs", "digits", "--trial", "0")
    assert missing.status == 2
    assert str(folder) in missing.err
    write_logs(home)  # of a version before this one
    (folder / "image_cnn-0001-1.log").unlink()
    assert velodrome("logs", "digits", *asked).out == "epoch 1\nepoch 2 ✓\n"


def test_status_says_where_each_trial_runs_and_lists_hosts_where_there_are_several(home, velodrome):
    def place(host, gpu=""):
        return {"facts": {"place": {"host": host, "lane": "lanes-1-0", "gpu": gpu}}}

    one, two = place("w1", "0"), place("w2", "1")
    write_sweep(home, trials=(trial_of("text_cnn", 0, "running", **one), trial_of("text_cnn", 1, "waiting")))
    (first, second) = document(velodrome("status", "digits", "--json"))["trials"]
    assert (first["place"], second["place"]) == ({"host": "w1", "lane": "lanes-1-0", "gpu": "0"}, None)
    assert "w1" not in velodrome("status", "digits").out
    trials = [trial_of("text_cnn", n, "complete", 0.5, **where) for n, where in enumerate((one, two))]
    write_sweep(home, spec_of(version=2), trials=tuple(trials))
    words = [set(line.split()) for line in velodrome("status", "digits").out.splitlines()]
    named = [line & {"host", "gpu", "w1", "w2"} for line in words]
    assert [line for line in named if line] == [{"host", "gpu"}, {"w1"}, {"w2"}]


def test_logs_follow_prints_new_lines_and_ends_with_the_sweep(home):
    sweep = write_sweep(home, state="running")
    set_owner(home, sweep, living_owner())
    folder = write_logs(home)
    turns = 0

    def sleep(_seconds: float) -> None:
        nonlocal turns
        turns += 1
        with (folder / "driver.log").open("ab") as log:
            log.write("✓".encode()[:2] if turns == 1 else "✓\n".encode()[2:])
        if turns == 2:
            set_owner(home, sweep, dead_owner())

    text = "".join(piece for _, piece in follow_logs("digits", sleep=sleep))
    assert text == "lanes are up\n✓\n"
    assert turns == 2


def test_compare_ranks_by_direction_beside_the_trivial_guess(home, velodrome):
    write_sweep(home)
    write_sweep(home, spec_of("other"), trials=(trial_of("text_cnn", 0, "complete", 0.99),))
    (group,) = document(velodrome("compare", "digits", "other", "--json"))["groups"]
    assert [(row["sweep"], row["family"]) for row in group["rows"]] == [
        ("other", "text_cnn"), ("digits", "image_cnn"), ("digits", "text_cnn"),
    ]  # fmt: skip
    row = group["rows"][1]
    assert row["trivial"] == 0.11
    assert row["trials"]["count"] == 2
    assert row["trials"]["median"] == pytest.approx(0.9775)
    known = {"parameters": 52_138, "size_bytes": 210_944, "latency_ms": 1.25, "train_seconds": 1.7}
    assert {name: cost for name, cost in row["costs"].items() if cost is not None} == known
    assert [entry["on_front"] for entry in group["rows"]] == [True, False, False]


def test_compare_different_metrics_are_ranked_apart(home, velodrome):
    write_sweep(home)
    loss = ACCURACY.__class__(metric="val/loss", direction="minimize")
    trials = tuple(trial_of("text_cnn", n, "complete", v) for n, v in enumerate([0.9, 0.2]))
    write_sweep(home, spec_of("losses", objectives=(loss,)), trials=trials)
    found = document(velodrome("compare", "digits", "losses", "--json"))
    assert [group["objectives"][0]["metric"] for group in found["groups"]] == ["val/accuracy", "val/loss"]
    assert found["groups"][1]["rows"][0]["values"] == [0.2]
    assert found["without"] == ["losses/image_cnn"]


def test_compare_different_data_is_warned_of(home, velodrome):
    write_sweep(home)
    write_sweep(home, spec_of("other"), fingerprint="e" * 32)
    assert "different data" in velodrome("compare", "digits", "other").out


def test_compare_shows_confirmations_beside_the_search(home, velodrome):
    again = [
        trial_of(
            "image_cnn", n, "complete", v, origin={"number": 1, "seed_index": n}, metrics={"test/accuracy": t}
        )
        for n, (v, t) in enumerate([(0.97, 0.95), (0.99, 0.97)])
    ]
    for trial in again:
        trial.role = "confirm"
    write_sweep(home, trials=(trial_of("image_cnn", 1, "complete", 0.985), *again))
    (group,) = document(velodrome("compare", "digits", "--json"))["groups"]
    assert group["rows"][0]["confirmed"]["mean"] == pytest.approx(0.98)
    assert group["rows"][0]["tested"]["mean"] == pytest.approx(0.96)
    assert group["rows"][0]["trials"]["count"] == 1


def test_compare_csv_has_one_line_per_row(home, velodrome):
    write_sweep(home)
    lines = list(csv.DictReader(io.StringIO(velodrome("compare", "digits", "--csv").out)))
    assert [line["family"] for line in lines] == ["image_cnn", "text_cnn"]
    assert float(lines[0]["val/accuracy"]) == 0.985
    assert lines[0]["param.optimizer"] == "adam"
