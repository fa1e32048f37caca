# make demo    the main job on real data, with pictures, in demo-output/
# make test    every test
# make quick   the laws of the core alone, in under two minutes on two processors: for the everyday change
# make fuzz    24,000 damaged and forged files: none may crash, hang or lie
# make types   a user's program under a second type checker, pyright (`make lint` has mypy)
# make gpu     the tests and benchmarks that need an accelerator; their figures in gpu-output/
# Each builds its own environment in .venv from pinned versions; nothing else is needed but Python 3.11 or newer.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRAS := test

JOBS   ?= 2
# One process a processor, at most four (conftest.py); `make test PARALLEL=` runs all in one, as a debugger wants it.
PARALLEL ?= --numprocesses auto --dist loadfile

.PHONY: demo test quick fuzz lint types docs bench architectures gpu evidence clean

demo: $(VENV)/.demo
	$(BIN)/evtkit demo --output demo-output

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

quick: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

fuzz: $(VENV)/.test
	$(BIN)/python benchmarks/fuzz.py --cases 24000

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

types: $(VENV)/.types
	$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/.bench
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

architectures: $(VENV)/.test
	$(PIP) install -c constraints.txt -e '.[architectures]'
	$(BIN)/python benchmarks/architectures.py
	$(BIN)/python benchmarks/keras_architectures.py
	$(BIN)/python benchmarks/profile_networks.py

gpu: $(VENV)/.test
	mkdir -p gpu-output
	{ date -u; nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; \
	  $(BIN)/python -m pytest -m gpu tests/torch; \
	  $(BIN)/python benchmarks/accelerator.py; } 2>&1 | tee gpu-output/gpu.txt

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) install -c constraints.txt -e '.[$(EXTRAS),lint]'
	touch $@

$(VENV)/.types: $(VENV)/.lint
	$(PIP) install -c constraints.txt -e '.[$(EXTRAS),types]'
	touch $@

$(VENV)/.docs: $(VENV)/.test
	$(PIP) install -c constraints.txt -e '.[$(EXTRAS),docs]'
	touch $@

$(VENV)/.evidence: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[evidence]'
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install -c constraints.txt -e '.[$(EXTRAS),bench]'
	touch $@

evidence: $(VENV)/.evidence
	@test -n "$(DATA)" || { echo "wanted DATA=folder with weights/ and images/, see docs/evidence.rst"; exit 2; }
	$(BIN)/python examples/evidence/run.py --data $(DATA) --output evidence-output --jobs $(JOBS)
	$(BIN)/python examples/evidence/summary.py --output evidence-output --docs docs

clean:
	rm -rf $(VENV) demo-output evidence-output gpu-output docs/_build docs/api/generated build dist .pytest_cache .mypy_cache .ruff_cache
