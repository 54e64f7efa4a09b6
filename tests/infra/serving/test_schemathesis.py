"""`/openapi.json` as schemathesis reads it: nothing that it makes up is answered otherwise than it says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.infra.serving.test_platform import ROOT, free_ports, local_server
from tests.infra.tracking.bundles import a_bundle

CONFIG = ROOT / "schemathesis.toml"
_ALLOWED = 'checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "503"]\n'
ONLY_IMAGES, NEXT = f"{_ALLOWED}# More rows", "# More rows"
OPERATIONS = 17  # all but the document itself


def check_server(port: int, folder: Path, *options: str, images: bool = True) -> int:
    """Runs every check on every operation of a server, without what is allowed for images where it has none;
    how many requests that took."""
    config = folder / "config.toml"
    config.write_text(CONFIG.read_text() if images else CONFIG.read_text().replace(ONLY_IMAGES, NEXT))
    url = f"http://127.0.0.1:{port}/openapi.json"
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", url,
        "--checks", "all", "--generation-database", "none", "--no-color", *options,
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1500, check=False)
    told = re.sub(r"(\{\}, ){9,}", "{}, …, ", ended.stdout)  # a body of as many rows as there may be
    assert ended.returncode == 0, told[-6000:] + ended.stderr[-2000:]
    patterns = (r"Selected: (\d+)/", r"Selected: \d+/(\d+)", r"Tested: (\d+)")
    assert [_number_in(ended.stdout, pattern) for pattern in patterns] == [OPERATIONS] * 3
    return _number_in(ended.stdout, r"([\d,]+) generated")


def _number_in(text: str, pattern: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, text[-3000:]
    return int(found[1].replace(",", ""))


@pytest.mark.slow
def test_server_passes_all_checks(bundle: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    phases = ("--phases", "examples,coverage,fuzzing", "--max-time", "20")
    with local_server(port, 0.0, bundle):
        assert check_server(port, tmp_path, *phases, images=False) > 200


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", ["image_cnn", "linear_regression", "text_cnn"])
def test_server_passes_all_checks_for_minutes(family: str, tmp_path: Path) -> None:
    """Twenty minutes over models of images, tables and texts, all phases."""
    bundle = a_bundle(family, tmp_path / "bundle", tmp_path / "cache")
    (port,) = free_ports(1)
    with local_server(port, 0.0, bundle):
        images = family == "image_cnn"
        assert check_server(port, tmp_path, "--max-time", "400", images=images) > 1_000


def test_checks_are_loosened_by_one_status_each() -> None:
    tensors, rows = tomllib.loads(CONFIG.read_text())["operations"]
    assert (tensors["include-path-regex"], rows["include-path"]) == ("/infer$", "/invocations")
    assert list(tensors["checks"]) == ["positive_data_acceptance"]
    assert list(rows["checks"]) == ["positive_data_acceptance", "negative_data_rejection"]
    assert "2xx" not in rows["checks"]["negative_data_rejection"]["expected-statuses"]
    _, strict = tomllib.loads(CONFIG.read_text().replace(ONLY_IMAGES, NEXT))["operations"]
    assert list(strict["checks"]) == ["negative_data_rejection"]
