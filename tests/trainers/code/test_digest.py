"""A change of code that decides training is seen; a change of what does not is not."""

from __future__ import annotations

import subprocess
import sys
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
        handle.write("# changed\n")
    assert (source_hash("mynets.family:train") != before) == seen


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
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of what all families share, read instead of the real one."""
    import shutil

    shutil.copytree(Path(digest.__file__).parents[1], tmp_path / "trainers")
    monkeypatch.setattr(digest, "_HERE", tmp_path / "trainers")
    digest._training_digest.cache_clear()
    yield tmp_path / "trainers"
    digest._training_digest.cache_clear()


@pytest.mark.parametrize(
    ("file", "seen"),
    [
        ("loop/training.py", True),
        ("optim/optimizers.py", True),
        ("tasks/classification.py", True),
        ("data/prepare.py", True),
        ("modules/layers.py", True),
        ("families/text_cnn.py", False),
        ("bundle/predictor.py", False),
        ("data_profile.py", False),
        ("registry.py", False),
    ],
)
def test_source_hash_of_built_in_family_covers_training_code(copied: Path, file: str, seen: bool) -> None:
    before = source_hash("image_cnn")
    with (copied / file).open("a") as handle:
        handle.write("# changed\n")
    digest._training_digest.cache_clear()
    assert (source_hash("image_cnn") != before) == seen


def test_source_hash_exclusions_all_exist() -> None:
    package = Path(digest.__file__).parents[1]
    assert [name for name in digest._UNINVOLVED if not (package / name).exists()] == []


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


def test_source_hash_takes_under_half_a_second() -> None:
    import time

    load_reference("image_cnn")
    digest._training_digest.cache_clear()
    started = time.process_time()
    source_hash("image_cnn")
    assert time.process_time() - started < 0.5
