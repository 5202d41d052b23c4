# SPDX-License-Identifier: Apache-2.0
# The front door. Any target may be the first command typed in a fresh clone.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The tested versions, in the isolated build too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

# Shapes that others measure, where they lie beside the checkout.
BENCH_SHAPES := $(wildcard ../shared/data/conformance)

NATIVE := CMakeLists.txt $(wildcard src/convsmith/native/*.cpp src/convsmith/native/*.h) \
          $(wildcard src/convsmith/native/*.def src/convsmith/convs/*/*.kernel.h)

.PHONY: help demo test test-all check bench docs clean

help:
	@echo "make demo       optimize a trained network and see the proof"
	@echo "make test       the quick tests; make test-all runs every test"
	@echo "make check      lint, format and types"
	@echo "make bench      measured comparisons"
	@echo "make docs       the manual, as HTML"
	@echo "make clean      remove .venv and every build"

demo: .venv/installed
	@$(BIN)/convsmith optimize

test: .venv/installed
	@echo "== the quick tests"
	@$(BIN)/python -m pytest -q -n 2 -m "not slow and not cuda" --doctest-modules tests src/convsmith

test-all: .venv/installed
	@echo "== every test"
	@$(BIN)/python -m pytest -q -n 2 --doctest-modules tests src/convsmith

check: .venv/installed
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy

bench: .venv/installed-bench
	@$(BIN)/convsmith bench $(BENCH_SHAPES:%=--shapes %)
	@$(BIN)/python bench/scanning.py

docs: .venv/installed-docs
	@echo "== the manual"
	@$(BIN)/sphinx-build -W -q -b html docs build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf .venv build

$(BIN)/python:
	@echo "== creating .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

# Editable, so only what is listed here asks for a new installation.
.venv/installed: pyproject.toml constraints.txt $(NATIVE) | $(BIN)/python
	@echo "== installing convsmith and what it needs (a few minutes the first time)"
	@$(PIP) install --editable ".[digits,test,dev]"
	@touch $@

.venv/installed-bench: .venv/installed
	@echo "== installing the peers to compare with"
	@$(PIP) install --editable ".[digits,test,dev,bench]"
	@touch $@

.venv/installed-docs: .venv/installed
	@echo "== installing what the manual needs"
	@$(PIP) install --editable ".[digits,test,dev,docs]"
	@touch $@
