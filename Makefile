# make demo    trains and tests a classifier, a detector and a segmentor on the CPU
# make test    runs the tests
# make lint    checks style, format and types
# All make the environment first if needed. For another Python or another place for it:
#   make demo PYTHON=python3.12 VENV=/path/to/environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/mmdwnet-installed

.PHONY: demo test lint
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/python tools/demo.py

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(INSTALLED): pyproject.toml setup.py $(wildcard requirements/*.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --editable '.[openmmlab,tests]'
	touch $@
