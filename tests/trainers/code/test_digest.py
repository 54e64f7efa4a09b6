"""A change of code that decides training is seen; a change of what does not is not."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainers.code import digest
from trainers.registry import BUILT_IN, load_reference, source_hash

FILES = {
    "mynets/__init__.py": "",
    "mynets/family.py": "from . import blocks\nimport numpy\nfrom beside import x\ndef train(trial): ...\n",
    "mynets/blocks.py": "def block():\n    import mynets.deep.inner as inner\n    return inner\n",
    "mynets/deep/__init__.py": "",
    "mynets/deep/inner.py": "from ..cycle import x\n",
    "mynets/cycle.py": "from mynets import family, blocks\nx = 1\n",
    "mynets/unused.py": "y = 1\n",
    "beside.py": "x = 0.1\n",
    "unused.py": "z = 1\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Somebody's own package, importable, and modules beside it."""
    for name, text in FILES.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    yield tmp_path / "own"
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mynets", "beside")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "seen"),
    [
        ("mynets/__init__.py", True),
        ("mynets/family.py", True),
        ("mynets/blocks.py", True),
        ("mynets/deep/inner.py", True),
        ("mynets/cycle.py", True),
        ("beside.py", True),
        ("mynets/unused.py", False),
        ("unused.py", False),
    ],
)
def test_source_hash_covers_own_code_and_its_local_imports(folder: Path, file: str, seen: bool) -> None:
    before = source_hash("mynets.family:train")
    assert source_hash("mynets.family:train") == before
    with (folder / file).open("a") as handle:
        handle.write("changed = 1\n")
    assert (source_hash("mynets.family:train") != before) == seen


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("def block():", "# a comment\ndef block():", False),
        ("def block():", "def block( ) :\n\n    'what it makes'", False),
        ("def block():", "'what is in here'\ndef block():", False),
        ("def block():", "x = 'no docstring'\ndef block():", True),
        ("return inner", "return inner.x", True),
        ("return inner", "return 'inner'", True),
    ],
)
def test_source_hash_covers_syntax_alone(folder: Path, old: str, new: str, seen: bool) -> None:
    before = source_hash("mynets.family:train")
    file = folder / "mynets" / "blocks.py"
    file.write_text(file.read_text().replace(old, new))
    assert (source_hash("mynets.family:train") != before) == seen


def test_source_hash_of_own_family_covers_what_it_imports_of_ours(folder: Path) -> None:
    text = "from trainers.family import Family\nclass Own(Family): ...\n"
    (folder / "mynets" / "cycle.py").write_text(text)
    plain = set(digest._collect_ours(digest._TRAINING))
    (folder / "mynets" / "family.py").write_text(
        text + "def use():\n    from trainers.modules import recurrent\n"
    )
    before = source_hash("mynets.family:Own")
    assert "trainers.modules.recurrent" not in plain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "_syntax", lambda name, _: b"x" if name.endswith(".recurrent") else b"")
        changed = source_hash("mynets.family:Own")
        patch.setattr(digest, "_syntax", lambda name, _: b"")
        assert changed != source_hash("mynets.family:Own")
    assert source_hash("mynets.family:Own") == before


def test_source_hash_ignores_other_loaded_modules(folder: Path) -> None:
    before = source_hash("mynets.family:train")
    __import__("mynets.unused")
    assert source_hash("mynets.family:train") == before


def test_source_hash_is_the_same_in_another_process(folder: Path) -> None:
    code = (
        "from trainers.registry import source_hash\n"
        "print(*[source_hash(r) for r in ('image_cnn', 'text_cnn', 'mynets.family:train')])"
    )
    paths = [str(Path(digest.__file__).parents[2]), str(folder)]
    there = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{code}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = ("image_cnn", "text_cnn", "mynets.family:train")
    assert there.stdout.split() == [source_hash(name) for name in names]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what all families share, read instead of the real one."""
    import shutil

    shutil.copytree(Path(digest.__file__).parents[1], tmp_path / "trainers")
    monkeypatch.setattr(digest, "_ROOT", tmp_path)
    return tmp_path / "trainers"


@pytest.mark.parametrize(
    ("file", "seen"),
    [
        ("loop/training.py", True),
        ("optim/optimizers.py", True),
        ("tasks/classification.py", True),
        ("data/prepare.py", True),
        ("modules/layers.py", True),
        ("inputs/images.py", True),
        ("inputs/texts.py", False),
        ("modules/recurrent.py", False),
        ("families/image_cnn.py", True),
        ("families/text_cnn.py", False),
        ("bundle/predictor.py", False),
        ("data_profile.py", False),
        ("registry.py", False),
    ],
)
def test_source_hash_of_built_in_family_covers_training_code(copied: Path, file: str, seen: bool) -> None:
    before = source_hash("image_cnn")
    with (copied / file).open("a") as handle:
        handle.write("changed = 1\n")
    assert (source_hash("image_cnn") != before) == seen


def test_source_hash_of_built_in_family_ignores_comments_and_docstrings(copied: Path) -> None:
    before = source_hash("image_cnn")
    for path in copied.rglob("*.py"):
        path.write_text(path.read_text().replace("import annotations\n", "import annotations\n# why\n"))
    assert source_hash("image_cnn") == before


def test_source_hash_exclusions_all_exist() -> None:
    places = [digest._ROOT.joinpath(*name.split(".")) for name in digest._UNINVOLVED + digest._TRAINING]
    assert [place for place in places if not (place.is_dir() or place.with_suffix(".py").is_file())] == []


def test_source_hash_differs_for_each_built_in_family() -> None:
    assert len({source_hash(name) for name in BUILT_IN}) == len(BUILT_IN)


def test_source_hash_of_code_without_file_uses_its_instructions() -> None:
    def made(body: str) -> str:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def train(trial):\n    {body}", space)
        found = space["train"]
        found.__module__ = "no_such_module"
        return digest.source_digest(found)

    assert made("return [x for x in trial if x in {'a', 'b'}]") == made(
        "return [x for x in trial if x in {'a', 'b'}]"
    )
    assert made("return trial.a") != made("return trial.b")
    assert made("return 1") != made("return 2")


def test_source_hash_does_not_follow_library_base_classes() -> None:
    import torch

    class Own(torch.nn.Module):
        pass

    assert digest._collect_imports("torch.nn.modules.module", "tests") == {}
    assert len(digest.source_digest(Own)) == 64


def test_source_hash_takes_less_than_parsing_all_that_it_may_reach() -> None:
    """Half a second where nothing else runs: beside what the same processor does, since others slow it."""
    load_reference("image_cnn")
    hashing, parsing = [], []
    for _ in range(3):
        digest._analyze.cache_clear()
        started = time.process_time()
        source_hash("image_cnn")
        hashed = time.process_time()
        for path in Path(digest.__file__).parents[1].rglob("*.py"):
            ast.parse(path.read_bytes())
        hashing.append(hashed - started)
        parsing.append(time.process_time() - hashed)
    assert min(hashing) < 1.4 * min(parsing)
