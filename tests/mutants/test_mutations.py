"""What the mutation run changes, and what it leaves alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.mutations import find_mutations
from tests.mutants.run import ROOMS, ROOT, Room, main, sample_mutants, write_record


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


@pytest.mark.parametrize("room", ROOMS.values(), ids=ROOMS)
def test_rooms_files_and_tests_are_there(room: Room) -> None:
    assert room.paths(ROOT)
    assert all((ROOT / path).exists() for path in room.tests)
