# make demo    trains and tests a classifier, a detector and a segmentor on the CPU
# make test    runs the tests
# make lint    checks style, format and types
# make site    builds the documentation into site/
# All make the environment first if needed. For another Python or another place for it:
#   make demo PYTHON=python3.12 VENV=/path/to/environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/mmdwnet-installed

.PHONY: demo test lint site
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/python tools/demo.py

# Most of the time goes into imports and compilers, which use one core: the tests run in as many
# processes as there are cores, up to 4, as each takes 2 GB of memory.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" \
		--numprocesses auto --maxprocesses 4 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

site: $(VENV)/mmdwnet-docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean

$(INSTALLED): pyproject.toml setup.py $(wildcard requirements/*.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --editable '.[openmmlab,tests]'
	touch $@

$(VENV)/mmdwnet-docs-installed: $(INSTALLED)
	$(BIN)/pip install --editable '.[docs]'
	touch $@
