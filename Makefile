# Two commands matter: `make paper` and `make test`. Variables can be set:
# make paper DATA=Galaxy10_DECals.h5 OUT=results/galaxy10
# make test-all JOBS=4
# make install WHEELS=      where a package has no wheel, as GalSim on ARM: it is built then, with what it fetches

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= results/paper
REPORT ?= report
DATA ?=
WEIGHTS_DIR ?=
ARGS ?=
WHEELS ?= --only-binary :all:
MINUTES ?= 30
SEED ?= 1
KILLS ?= 20
JOBS ?= 2
UNTIL ?=
ON_JAX := networks/test_blocks networks/test_device learning/test_diagnostics learning/test_ends learning/test_heads learning/test_fit_heads \
  learning/test_features networks/test_warm system/test_process test_training

PYTEST := $(BIN)/python -m pytest
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --upgrade \
  --no-header --no-annotate --no-emit-index-url --quiet
BESIDE := --numprocesses $(JOBS) --dist loadfile
tests test-rest: export PYTHONDONTWRITEBYTECODE :=  # tests start Pythons, each of which would compile the project anew

.PHONY: paper test test-all test-rest install lint format types tests mutants fuzz chaos history docs pictures lock licences

paper: install  ## the paper's grid, then its tables and figures
	@status=0; \
	$(BIN)/python -m sweep.run --grid paper --out $(OUT) \
	  $(if $(DATA),--data $(DATA)) $(if $(WEIGHTS_DIR),--weights-dir $(WEIGHTS_DIR)) $(ARGS) || status=$$?; \
	if [ $$status -gt 1 ]; then exit $$status; fi; \
	$(BIN)/python -m analysis.run $(OUT) --out $(REPORT) && exit $$status

test: install lint types tests  ## lint, types, and every promise of the pages once

test-all: test test-rest  ## hosts, faults, JAX and the benchmarks' smoke too

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	@echo "Installing into $(VENV) (about 3 GB; some minutes)"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes $(WHEELS) --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types:
	$(BIN)/mypy

tests:
	$(PYTEST) $(BESIDE) -m "not rest and not alone"
	$(PYTEST) -m "alone and not rest"

test-rest: LATEST = $(if $(UNTIL),--until $(UNTIL))
test-rest: install
	$(PYTEST) $(BESIDE) $(LATEST) -m "rest and not alone"
	KERAS_BACKEND=jax $(PYTEST) $(BESIDE) $(LATEST) $(patsubst %,tests/galaxytl/%.py,$(ON_JAX))
	$(PYTEST) $(LATEST) -m "rest and alone"

mutants: install  ## 60 deliberate faults, one after the other: do the tests catch them?
	$(BIN)/python -m tests.mutants --jobs $(JOBS)

fuzz: install  ## damaged and odd files, grids and settings: no traceback, and no other row under a trial's id
	$(BIN)/python -m tests.fuzz

chaos: install  ## kill drivers, workers, nodes and the head of sweeps, fill and damage disks, and count what survives
	$(BIN)/python -m tests.cluster.chaos --minutes $(MINUTES) --seed $(SEED) --kills $(KILLS)

history: install  ## drivers that contend for the same results while files and S3 fail them: does one lead, do all rows stay?
	$(BIN)/python -m tests.cluster.history --minutes $(MINUTES) --seed $(SEED)

docs: install  ## the pages of docs/ as a site, with a reference made from the code: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html opens from the disk; for its search: python -m http.server --directory build/site"

pictures: install  ## the diagrams of docs/; and its screenshots, of the sweep in OUT and its report in REPORT, by Chromium
	$(BIN)/python docs/build_diagrams.py
	$(BIN)/python docs/build_pictures.py $(OUT) $(REPORT)

lock: install  ## write the locks anew from pyproject.toml, each file with its hashes, and the licences of what is in them
	$(COMPILE) --extra dev --output-file requirements.lock
	$(COMPILE) --extra gpu --constraint requirements.lock --output-file requirements-gpu.lock
	$(MAKE) licences

licences: install  ## docs/licences.md, from what the package index says of what is locked
	$(BIN)/python -m tests.licences
