# Each command makes its own virtual environment and installs what it needs.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test test-slow check bazel clean

demo: $(INSTALLED)-demo  ## Train, export and time a root network beside its dense original.
	$(BIN)/keras-roots demo $(ARGS)

test: check  ## The whole suite but what is marked slow.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(INSTALLED)  ## What is marked slow.
	$(BIN)/python -m pytest -m slow $(ARGS)

check: $(INSTALLED)  ## Style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bazel: $(INSTALLED)  ## Build and test with Bazel, in the same virtual environment.
	PATH="$(abspath $(BIN)):$$PATH" bazel test //...

$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[all,development]'
	touch $@ $(INSTALLED)-demo

$(INSTALLED)-demo: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[datasets,litert,plots]'
	touch $@

clean:
	rm -rf $(VENV) *.egg-info build
