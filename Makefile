# Two commands do everything: `make demo` and `make test`. All set up `.venv` where it is missing or old.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Python compiles what it imports, when it does: of 25,000 files most are never read.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-all test-cluster test-gpu docs clean

setup: $(VENV)/ready

# The lock needs no resolving: two halves at once; then what it lacks on another platform (CUDA's libraries).
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Velodrome needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	sort -r constraints.txt | xargs -P 2 -n 24 $(INSTALL) --no-deps --no-compile
	$(INSTALL) --constraint constraints.txt --no-build-isolation --editable '.[dev,docs]'
	$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@touch $@

demo: setup
	$(BIN)/velodrome sweep docs/quickstart.yaml

test: setup
	PYTHON=$(BIN)/python scripts/check

# Tests marked `long` run too, each write and statement fails once, where `make test` takes some, every case of the
# fault catalogue runs, and small changes of the code where decisions are made are looked at: do the tests notice?
test-all: setup
	EVERY_WRITE=1 PYTHON=$(BIN)/python scripts/check
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/run.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants/run.py --watch build/mutants
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants/run.py --map build/mutants --count 300 --seed 6 --least 0.9

# On machines in Linux namespaces, with PostgreSQL and MLflow's server on machines of their own: half an hour.
test-cluster: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 -m cluster tests/cluster
	OMP_NUM_THREADS=1 $(BIN)/python tests/cluster/chaos.py

# With a torch of CUDA's: the tests that need a GPU, and the figures of stacks on it.
test-gpu: setup
	$(BIN)/python -m pytest -n 0 -rs -m gpu tests/gpu

# Into build/site; any warning is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) .velodrome build *.egg-info .pytest_cache .mypy_cache .ruff_cache
