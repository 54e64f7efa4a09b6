"""English text that every installation has: the documentation strings of the standard library.

Sources are parsed, never imported.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from trainers.data.dataset import Task
from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.raw import RawDataset, arrow_column
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder

PACKAGES = (
    "asyncio",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)
LEAST_WORDS = 3


def read_docstrings(task: Task | None, cache: Path) -> RawDataset:
    """By task: texts with their package (classification), texts alone (language-model), or the first
    sentence of each with the name that it documents (seq2seq).
    """
    rows = _load_rows(cache)
    if task == "seq2seq":
        pairs = sorted({(summary, name) for _, name, summary, _ in _filter_functions(rows)})
        return RawDataset(
            columns={
                "input": arrow_column([p[0] for p in pairs]),
                "target": arrow_column([p[1] for p in pairs]),
            },
            kind="pairs",
            task="seq2seq",
            target="target",
        )
    if task == "language-model":
        texts = list(dict.fromkeys(text for _, _, _, text in rows))
        return RawDataset(
            columns={"text": arrow_column([f"{t}\n\n" for t in texts])}, kind="corpus", task="language-model"
        )
    texts_of = {text: package for package, _, _, text in reversed(rows)}
    labels = {"text": arrow_column(list(texts_of)), "package": arrow_column(list(texts_of.values()))}
    return RawDataset(columns=labels, kind="text", task="classification", target="package")


Row = tuple[str, str, str, str]  # package, name, first sentence, whole text


def _filter_functions(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row[1].startswith("_") and len(row[2].split()) >= LEAST_WORDS]


def _load_rows(cache: Path) -> list[Row]:
    """Parsed once for each Python installation: it takes a second."""
    place = sysconfig.get_paths()["stdlib"]
    identity = hashlib.sha256(f"2 {place} {sys.version} {PACKAGES}".encode()).hexdigest()[:24]

    def build(aside: Path) -> None:
        (aside / "rows.json").write_text(json.dumps(list(_parse_library(Path(place)))))

    folder = shared_folder(cache / "sources" / identity, build)
    rows = [tuple(row) for row in json.loads((folder / "rows.json").read_text())]
    if not rows:
        raise InputError(
            "builtin:docstrings needs the standard library's sources", f"none in {place}", key=SOURCE_KEY
        )
    return rows


def _parse_library(place: Path) -> Iterator[Row]:
    for package in PACKAGES:
        for path in sorted((place / package).rglob("*.py")):
            if "test" in path.relative_to(place).parts or "tests" in path.parts:
                continue
            yield from _parse_file(package, path)


def _parse_file(package: str, path: Path) -> Iterator[Row]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # files that are meant to be broken
        return
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            continue
        text = inspect.cleandoc(ast.get_docstring(node) or "")
        if len(text.split()) >= LEAST_WORDS:
            name = path.stem if isinstance(node, ast.Module) else node.name
            yield package, name, " ".join(text.split("\n\n")[0].split()), text
