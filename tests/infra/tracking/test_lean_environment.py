"""A model needs what its requirements name: each family answers where nothing else is installed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.wheel import build_wheel
from tests.infra.tracking.closed_environment import link_distributions, name_closure, python, unpack
from tests.trainers.families.cases import CASES, GAN, TREES, Case
from tests.trainers.families.test_contract import FamilyBench, case_id
from trainers.bundle.bundle import load_bundle, read_description, save_bundle
from trainers.bundle.requirements import EVERY_MODEL, required_distributions

ASK = """
import json, sys, os
from velodrome.model import _load_pyfunc
import torch, pandas
everything = json.loads(sys.argv[1])
for site, bundles in everything.items():
    child = os.fork()  # torch is imported once
    if not child:
        sys.path.append(site)
        for bundle in bundles:
            model = _load_pyfunc(bundle)
            print(json.dumps([bundle, model.predict(model.predictor.example).to_json()]), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"no answer with {site}")
"""


def an_untrained_bundle(case: Case, folder: Path) -> Path:
    """The bundle of a case's family with fresh weights; trees have none before they have grown."""
    bench = FamilyBench(case)
    module = bench.train()[0] if case is TREES else bench.family.build(bench.state, bench.params)
    return save_bundle(
        folder,
        family_reference=case.name,
        options=case.options,
        params=case.params,
        state=bench.state,
        weights=module.state_dict(),
        facts={},
        example_rows=bench.family.example(bench.dataset),
        row_hashes_of_train=bench.dataset.row_hashes[:1],
    )


def needed_by(bundle: Path) -> frozenset[str]:
    needed = required_distributions(read_description(bundle).document)
    assert needed is not None
    return needed


@pytest.mark.slow
def test_family_answers_where_only_its_requirements_are_installed(tmp_path: Path) -> None:
    sites: dict[frozenset[str], Path] = {}
    asked: dict[str, list[str]] = {}
    for case in (*CASES, GAN, TREES):
        bundle = an_untrained_bundle(case, tmp_path / case_id(case).replace("/", "_") / case.dataset.__name__)
        needed = needed_by(bundle)
        if needed not in sites:
            extra = name_closure(needed) - name_closure(EVERY_MODEL)
            sites[needed] = link_distributions(extra, tmp_path / f"extra-{len(sites)}")
        asked.setdefault(str(sites[needed]), []).append(str(bundle))
    base = link_distributions(name_closure(EVERY_MODEL), tmp_path / "base")
    own = tmp_path / "own"
    own.mkdir()
    assert name_closure(unpack(build_wheel(tmp_path / "wheels", lean=True), own)) == set()
    found = subprocess.run(
        [*python(own, base), ASK, json.dumps(asked)],
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    answers = dict(json.loads(line) for line in found.stdout.splitlines())
    assert answers.keys() == {bundle for bundles in asked.values() for bundle in bundles}
    for bundle, answer in answers.items():
        here = load_bundle(bundle)
        assert answer == here.predict(here.example).to_json()


@pytest.mark.parametrize(
    ("document", "beside"),
    [
        ({"family": "mlp", "state": {"table": {}}, "options": {}}, set()),
        ({"family": "image_cnn", "state": {"shape": [8, 8, 1]}, "options": {}}, {"pillow"}),
        (
            {"family": "rnn", "state": {"shape": [8, 8, 1], "spectrogram": {}}, "options": {}},
            {"soundfile", "scipy"},
        ),
        ({"family": "rnn", "state": {"tokenizer": "{}"}, "options": {}}, {"tokenizers"}),
        ({"family": "gradient_boosting", "state": {"table": {}}, "options": {}}, {"lightgbm"}),
        (
            {"family": "bert", "state": {"tokenizer": "{}"}, "options": {"lora": {"rank": 2}}},
            {"tokenizers", "transformers", "peft"},
        ),
    ],
)
def test_model_requirements_are_what_its_kind_of_data_and_options_need(
    document: Any, beside: set[str]
) -> None:
    assert required_distributions(document) == {*EVERY_MODEL, *beside}


@pytest.mark.parametrize("document", [{"build": "mine:build"}, {"family": "mine:Family", "state": {}}])
def test_model_of_own_code_has_no_requirements_of_its_own(document: Any) -> None:
    assert required_distributions(document) is None
