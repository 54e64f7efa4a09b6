"""What tests of real sweeps share: one that nothing disturbed, for each start of Ray and torch is dear."""

from __future__ import annotations

import pytest

from tests.faults.harness import Stage

EPOCHS = 10
EXACT = f"""
name: exact
seed: 5
data: {{source: "builtin:digits"}}
objective: {{metric: accuracy}}
budget: {{trials: 6, epochs: {EPOCHS}}}
search: {{sampler: tpe, pruner: {{name: asha, min_epochs: 2, reduction: 3}}, stack: off}}
resources: {{lanes: 1}}
checkpoint: {{every: 1 epoch}}
families:
  image_cnn:
    options: {{preset: mnist}}
    start_with:
      - {{learning_rate: 3.0e-3, optimizer: adam}}
      - {{learning_rate: 1.0e-9, optimizer: sgd}}
    space:
      extends: image_cnn
      learning_rate: {{type: float, low: 1.0e-9, high: 1.0e-2, log: true}}
"""


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The sweep `exact`, finished. Its tests are one group, so that one process makes it for all."""
    stage = Stage(tmp_path_factory.mktemp("quiet"))
    stage.write("exact.yaml", EXACT)
    done = stage.run("sweep", "exact.yaml")
    assert done.returncode == 0, done.stderr
    return stage
