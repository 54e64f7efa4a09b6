"""What the mutation run changes, and what it leaves alone."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import run
from tests.mutants.mutations import find_mutations
from tests.mutants.rooms import ROOMS, ROOT, Mutant, Room, sample_mutants
from tests.mutants.run import Bench, main, write_record
from tests.mutants.running import TOO_LONG, Batch, Outcome
from tests.mutants.watching import FILES, FOLDER, Map


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x = a < b", "x = (a <= b)"),
        ("x = a + b", "x = (a - b)"),
        ("x = a and b", "x = (a or b)"),
        ("x = 3", "x = 4"),
        ("x = f(keep=True)", "x = f(keep=False)"),
        ("sync(folder)", "pass"),
        ("self.newest = now", "pass"),
        ("if x:\n    y()", "if (not (x)):\n    y()"),
        ("ä = 'ü' if b in c else d", "ä = 'ü' if (b not in c) else d"),
    ],
)
def test_decision_is_turned_round(source: str, changed: str) -> None:
    made = [mutation.apply(source.encode()).decode() for mutation in find_mutations(source.encode())]
    assert changed in made


@pytest.mark.parametrize(
    "source",
    [
        '"""Docs."""',
        "raise ValueError(f'{a + 1}')",
        "if TYPE_CHECKING:\n    import a",
        "def f(x: int = None) -> 'Literal[1]': ...",
        "x = 'a' + b",
        "_log.warning('gone')",
        "x = zip(a, b, strict=True)",
    ],
)
def test_code_that_decides_nothing_is_left_alone(source: str) -> None:
    assert find_mutations(source.encode()) == []


def test_mutants_of_all_rooms_are_python_and_differ() -> None:
    for room in ROOMS.values():
        for path in room.paths(ROOT):
            source = path.read_bytes()
            for mutation in find_mutations(source)[::60]:
                changed = mutation.apply(source)
                assert changed != source
                ast.parse(changed)


def test_sample_is_the_same_for_a_seed_and_has_all_rooms() -> None:
    first, second = (sample_mutants(list(ROOMS), 16, seed=3) for _ in range(2))
    assert first == second
    assert {mutant.room for mutant in first} == set(ROOMS)
    assert sample_mutants(list(ROOMS), 16, seed=4) != first


def test_run_with_a_full_record_tries_none_again_and_counts_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "done.jsonl"
    first, second = sample_mutants(["hooks"], 2, seed=1)
    write_record(record, first.key, seconds=1.0, survived=True)
    write_record(record, second.key, seconds=1.0, survived=False)
    words = ["--rooms", "hooks", "--count", "2", "--record", str(record)]
    assert (main([*words, "--least", "0.5"]), main([*words, "--least", "0.9"])) == (0, 1)
    out = capsys.readouterr().out
    assert f"survived: {first}\n" in out
    assert f"survived: {second}\n" not in out
    assert "2 mutants, 50% noticed" in out


WATCHED = {
    "code.py": "def half(x):\n    if x < 0:\n        return 0\n    return x / 2\n",
    "test_code.py": "from code_under_test import half\n\n\ndef test_low():\n    assert half(-1) == 0\n\n\n"
    "def test_high():\n    assert half(2) == 1\n",
}


def test_map_names_the_tests_that_pass_a_line(tmp_path: Path) -> None:
    (tmp_path / "code_under_test.py").write_text(WATCHED["code.py"])
    (tmp_path / "test_code.py").write_text(WATCHED["test_code.py"])
    folder = tmp_path / "map"
    folder.mkdir()
    environment = os.environ | {FOLDER: str(folder), FILES: str(tmp_path / "code_under_test.py")}
    words = ("-p", "tests.mutants.watching", "-p", "no:cacheprovider", "--rootdir", ".", "test_code.py")
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, *words],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": paths},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = Map(folder, tmp_path)
    assert set(found.seconds) == {"test_code.py::test_low", "test_code.py::test_high"}
    assert found.tests_of("code_under_test.py", 3, 3) == ["test_code.py::test_low"]
    assert found.tests_of("code_under_test.py", 4, 4) == ["test_code.py::test_high"]
    assert set(found.tests_of("code_under_test.py", 2, 2)) == set(found.seconds)
    assert found.tests_of("code_under_test.py", 1, 1) == []  # passed as the file is imported


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Two small trees instead of copies of the whole."""

    def copy_small_tree(target: Path) -> Path:
        target.mkdir(parents=True)
        (target / "code.py").write_text("x = 1 < 2\n")
        return target

    monkeypatch.setattr(run, "copy_tree", copy_small_tree)
    monkeypatch.setitem(ROOMS, "own", Room(files=("code.py",), tests=("tests/all.py",)))
    return Bench(tmp_path, None, None)


def small_mutant() -> Mutant:
    """The one of `bench`."""
    (mutation,) = (one for one in find_mutations(b"x = 1 < 2\n") if "<=" in one.after)
    return Mutant(room="own", path="code.py", mutation=mutation)


@pytest.mark.parametrize(
    ("changed", "unchanged", "by"),
    [
        pytest.param(Outcome(status=0, seconds=1.0), 0, "", id="passes"),
        pytest.param(Outcome(status=1, seconds=1.0, failed=("a.py::b",)), 0, "a.py::b", id="fails"),
        pytest.param(Outcome(status=1, seconds=1.0, failed=("a.py::b",)), 1, "", id="fails without it too"),
        pytest.param(Outcome(status=2, seconds=1.0, failed=("a.py",)), 0, "a.py", id="is not read"),
        pytest.param(Outcome(status=TOO_LONG, seconds=1.0), 0, "too long", id="takes too long"),
    ],
)
def test_mutant_is_noticed_by_a_test_that_fails_for_it_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, changed: Outcome, unchanged: int, by: str
) -> None:
    ran: list[str] = []

    def run_nothing(root: Path, batch: Batch) -> Outcome:
        ran.append((root / "code.py").read_text())
        if root == bench.whole:
            return Outcome(status=unchanged if batch.tests == ("a.py::b",) else 0, seconds=1.0)
        return changed

    monkeypatch.setattr(run, "run_tests", run_nothing)
    tried = bench.try_mutant(small_mutant())
    assert (tried.by, tried.survived) == (by, not by)
    assert "x = (1 <= 2)\n" in ran
    assert (bench.changed / "code.py").read_text() == "x = 1 < 2\n"


@pytest.mark.parametrize("room", ROOMS.values(), ids=ROOMS)
def test_rooms_files_and_tests_are_there(room: Room) -> None:
    assert room.paths(ROOT)
    assert all((ROOT / path).exists() for path in room.tests)
