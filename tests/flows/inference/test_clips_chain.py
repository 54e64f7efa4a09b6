"""Sounds from a folder to answers, by the real commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.faults.harness import Stage

HERTZ = {"low": 300, "middle": 900, "high": 2500}
FORMS = ("wav", "flac", "ogg")


def write_tones(folder: Path, count: int, seed: int) -> None:
    """So many tones a class, of several lengths and formats, with noise."""
    draw = np.random.default_rng(seed)
    for label, hertz in HERTZ.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            moments = np.arange(int(8000 * draw.uniform(0.3, 0.5))) / 8000
            sound = 0.3 * np.sin(2 * np.pi * hertz * draw.uniform(0.9, 1.1) * moments)
            sound += 0.02 * draw.normal(size=len(moments))
            soundfile.write(folder / label / f"{number}.{FORMS[number % 3]}", sound, 8000)


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_tones_are_swept_confirmed_and_told_apart(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"OMP_NUM_THREADS": "1", "COLUMNS": "120"})
    write_tones(tmp_path / "tones", 30, seed=0)
    write_tones(tmp_path / "more", 4, seed=1)
    made = stage.run("new", "audio:tones", "--json")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    assert document["families"] == ["image_cnn", "rnn", "transformer"]
    assert any("at 16,000 Hz and 0.5 s" in note for note in document["data"]["notes"])
    few = ("budget.trials=1", "budget.epochs=10", "families.rnn.options.state=pooled", "resources.lanes=2")
    changes = [word for change in few for word in ("--set", change)]
    for words in (
        ("sweep", "tones.yaml", *changes),
        ("confirm", "tones", "--top", "1", "--seeds", "2"),
        ("predict", "tones", "more", "--out", "answers.csv"),
    ):
        done = stage.run(*words, limit_s=300)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    answers = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert len(answers) == 12
    assert np.mean([row["prediction"] == row["audio"].split("/")[0] for row in answers]) > 0.8
    (tmp_path / "more" / "low" / "x.wav").write_bytes(b"no sound")
    refused = stage.run("predict", "tones", "more", "--out", "others.csv")
    assert refused.returncode == 2
    assert "x.wav" in refused.stderr
