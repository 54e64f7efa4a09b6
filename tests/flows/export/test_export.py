"""export: an archive that can be unpacked elsewhere, looked at and run again, with no secret in it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

import velodrome as public
from flows.export.export import pack_archive
from infra.errors import StorageUnavailable, WrongInput
from tests.flows.ledger_sweeps import spec_of, write_sweep
from tests.flows.real_trials import change_facts, train_and_write
from tests.flows.reproduction.test_reproduce import FUNCTION, LINEAR, OWN, PARAMS

SECRET = "hunter2"


def unpack_archive(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


@pytest.fixture
def moved(monkeypatch):
    """Goes to an unpacked archive as somebody elsewhere would: no home but the one that it holds."""

    def move(folder: Path) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.delenv("VELODROME_HOME")

    return move


def test_unpacked_export_serves_status_plan_and_reproduce(home, velodrome, tmp_path, moved):
    Path("sugar.yaml").write_text(LINEAR)
    train_and_write(home, "sugar.yaml", PARAMS)
    write_sweep(home)  # another sweep of the same ledger stays at home
    ended = velodrome("export", "sugar", "--out", tmp_path / "s.tar.gz", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    folder = unpack_archive(tmp_path / "s.tar.gz", tmp_path / "there")
    moved(folder)
    for entry in found["files"]:
        assert hashlib.sha256(Path(entry["name"]).read_bytes()).hexdigest() == entry["sha256"]
    assert json.loads(Path("contents.json").read_text()) == found["files"]
    sweeps = json.loads(velodrome("status", "--json").out)["sweeps"]
    assert [sweep["sweep"] for sweep in sweeps] == ["sugar"]
    assert json.loads(velodrome("status", "sugar", "--json").out)["trials"][0]["params"] == PARAMS
    planned = velodrome("plan", "sweep.yaml", "--json")
    assert planned.status == 0, planned.err
    assert json.loads(planned.out)["done"] == 1
    assert velodrome("reproduce", "sugar", "--trial", "0").status == 0
    assert found["commands"][-1] == "velodrome sweep sweep.yaml --new"


def test_export_tables_hold_what_the_ledger_has(home, tmp_path):
    write_sweep(home, facts={"file_text": LINEAR})
    found = public.export("digits", out=tmp_path / "d.tar.gz")
    folder = unpack_archive(found.path, tmp_path / "there")
    rows = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text())))
    assert [(row["family"], row["number"], row["state"]) for row in rows[:2]] == [
        ("text_cnn", "0", "complete"), ("text_cnn", "1", "failed"),
    ]  # fmt: skip
    assert (rows[0]["val/accuracy"], rows[0]["param.filter_widths"]) == ("0.91", "[3, 4, 5]")
    points = list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))
    assert len(points) == 2 * sum(int(row["epochs"]) for row in rows)
    names = [line.partition("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()]
    assert {"torch", "mlflow"} <= set(names)


def test_export_holds_own_code_and_spaces(home, tmp_path, velodrome, moved, monkeypatch):
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("mine_packed.py").write_text("import beside_mine\n" + FUNCTION.replace("NOISE", ""))
    Path("beside_mine.py").write_text("x = 1\n")
    Path("unrelated.py").write_text("password = 'x'\n")
    Path("spaces").mkdir()
    Path("spaces/a.yaml").write_text("extends: b.yaml\n")
    Path("spaces/b.yaml").write_text("a: {type: float, low: 0, high: 1}\n")
    inline = "space: {a: {type: float, low: 0, high: 1}}"
    text = OWN.replace(inline, "space: spaces/a.yaml").replace("mine_again", "mine_packed")
    Path("own.yaml").write_text(text)
    train_and_write(home, "own.yaml", {"a": 0.5})
    found = public.export("own")
    assert found.path == Path.cwd() / "own.tar.gz"
    names = [entry.name for entry in found.files]
    assert {"mine_packed.py", "beside_mine.py", "spaces/a.yaml", "spaces/b.yaml"} <= set(names)
    assert "unrelated.py" not in names
    assert found.warnings == ()
    moved(unpack_archive(found.path, tmp_path / "there"))
    assert velodrome("plan", "sweep.yaml").status == 0


def test_export_holds_no_secret_and_no_local_path(home, tmp_path):
    text = LINEAR + f"tracking: {{uri: 'http://me:{SECRET}@mlflow:5000'}}\n"
    Path("sugar.yaml").write_text(text)
    train_and_write(home, "sugar.yaml", PARAMS)
    override = f"ledger=postgresql+psycopg://me:{SECRET}@db/x"
    change_facts(home, "sugar", command=f"velodrome sweep --set {override}", overrides=[override])
    found = public.export("sugar", out=tmp_path / "s.tar.gz")
    content = gzip.decompress(found.path.read_bytes())
    assert SECRET.encode() not in content
    assert str(tmp_path).encode() not in content
    assert any("password" in warning for warning in found.warnings)
    assert SECRET not in " ".join(found.commands)


def test_export_archive_of_same_files_has_same_bytes():
    files = {"b.txt": b"2", "a/c.txt": b"1"}
    assert pack_archive(files, "x") == pack_archive(dict(reversed(files.items())), "x")
    with tarfile.open(fileobj=io.BytesIO(pack_archive(files, "x"))) as tar:
        assert [(entry.name, entry.mtime, entry.uname) for entry in tar] == [
            ("x/a/c.txt", 0, ""), ("x/b.txt", 0, ""),
        ]  # fmt: skip


def test_export_archive_content_is_listed_in_stable_order(home, tmp_path):
    write_sweep(home, facts={"file_text": LINEAR})
    one, other = (public.export("digits", out=tmp_path / name) for name in ("1.tar.gz", "2.tar.gz"))
    assert [entry.name for entry in one.files] == sorted(entry.name for entry in one.files)
    tables = {"trials.csv", "metrics.csv", "sweep.yaml", "README.txt", "requirements.txt", "versions.json"}
    assert {e for e in one.files if e.name in tables} == {e for e in other.files if e.name in tables}


def test_export_of_impossible_request_is_refused(home, tmp_path, monkeypatch):
    write_sweep(home, facts={"file_text": LINEAR})
    write_sweep(home, spec_of("lost"), facts={"file": str(tmp_path / "gone.yaml")})
    (tmp_path / "there.tar.gz").write_text("x")
    for name, out, words in (
        ("nosuch", None, "must be in the ledger"),
        ("lost", None, "in its ledger or where it was"),
        ("digits", tmp_path / "there.tar.gz", "must not exist yet"),
        ("digits", tmp_path / "no" / "such.tar.gz", "folder must exist"),
    ):
        with pytest.raises(WrongInput, match=words):
            public.export(name, out=out)
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(StorageUnavailable, match="no room"):
        public.export("digits")
    assert list(Path.cwd().glob(".*part")) == []


def _full(self, target):
    raise OSError(28, "no room")
