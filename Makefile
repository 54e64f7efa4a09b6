# Two commands do everything: `make demo` and `make test`. Both set up `.venv` where it is missing or old.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test check clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Velodrome needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/velodrome sweep docs/quickstart.yaml

test: setup
	PYTHON=$(BIN)/python scripts/check

clean:
	rm -rf $(VENV) .velodrome build *.egg-info .pytest_cache .mypy_cache .ruff_cache
