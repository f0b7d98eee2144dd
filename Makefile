# make quickstart   install, then run the whole loop on the model that ships with the project
# make test         install, then every test
# make help         the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# uv doesn't read pip's configuration: hand over what this machine's pip was told.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
export UV_EXTRA_INDEX_URL ?= $(shell $(PYTHON) -m pip config get global.extra-index-url 2>/dev/null)
export UV_INDEX_URL ?= $(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null)
export UV_INDEX_STRATEGY ?= unsafe-best-match
export UV_HTTP_TIMEOUT ?= 180
# An empty variable is not an unset one to uv.
UV := env $(foreach v,UV_FIND_LINKS UV_EXTRA_INDEX_URL UV_INDEX_URL,$(if $(strip $($(v))),,-u $(v))) $(BIN)/uv

.PHONY: help install quickstart test unit integration e2e faults soak lint types cluster-test clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart    install, then run the loop on the model that ships with the project"
	@echo "make test          install, then lint, types and every test but the one below"
	@echo "make unit | integration | e2e | faults | lint | types    one part of it"
	@echo "make soak          200 rounds with arriving files and random kills; writes soak.html"
	@echo "make cluster-test  a Ray cluster of three nodes on this machine, with s2d submit"
	@echo "make clean         remove .venv and what the tests left"

install: $(STAMP)

$(STAMP): requirements/cpu.txt pyproject.toml
	@$(PYTHON) requirements/check_system.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --compile-bytecode -r requirements/cpu.txt
	@# With its dependencies: nothing to do beside a CPU build, the CUDA libraries beside the usual one.
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode "$$(grep '^torch==' requirements/cpu.txt)"
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	$(BIN)/python -m compileall -q s2d_loop
	touch $(STAMP)

quickstart: install
	$(BIN)/s2d run configs/quickstart.yaml

test: install lint types
	$(BIN)/python -m pytest tests/unit tests/integration -n logical --maxprocesses 8 --dist worksteal
	@# These start engines and trainers, which want the machine to themselves.
	$(BIN)/python -m pytest tests/e2e tests/faults

unit integration e2e faults: install
	$(BIN)/python -m pytest tests/$@

soak: install
	$(BIN)/python -m benchmarks.soak

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

cluster-test: install
	$(BIN)/python -m pytest tests/cluster -m cluster

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
