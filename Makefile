# make help says what there is. Everything runs in .venv, which is made once and again when the packages change.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip
# One thread a process: OpenMP threads spin, and two runs with two threads each on two cores are 5-10 times slower.
export OMP_NUM_THREADS := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)
TEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run test fast lint bench gpu lab constraints clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv with the exact versions of constraints.txt

$(STAMP): requirements.txt constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -r requirements.txt -e .
	touch $@

run: $(STAMP)  ## rerun week 01, make its student release, grade three example submissions
	$(BIN)/lsdl demo

test: $(STAMP)  ## all tests, notebooks included, but for the weekly ones (browser, GPU)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -q -m "not browser and not gpu and not weekly" $(TEST_ARGS)

fast: $(STAMP)  ## the toolkit, lint, and the weeks that differ from origin/main, without what takes over 12 seconds (3 minutes)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -q --changed-weeks -m "not slow and not browser and not gpu and not weekly" $(TEST_ARGS)

lint: $(STAMP)  ## ruff, and the rules every week keeps
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lsdl lint

bench: $(STAMP)  ## own implementations timed beside the libraries': ratios, week by week
	$(BIN)/python benchmarks/weeks.py

gpu: $(STAMP)  ## full scale on a GPU: memory and time of a step of every week, into docs/full-scale.md; all notebooks on stand-ins
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/gpu.py

lab: $(STAMP)  ## open JupyterLab
	$(BIN)/jupyter lab

constraints:  ## pin what is installed in .venv now (without the packages only CUDA builds need)
	{ echo "# Exact versions that CI uses, made by 'make constraints'. CUDA packages are left out, so that it serves every platform."; \
	  $(PIP) freeze --all --exclude pip --exclude-editable | grep -viE '^(nvidia-|cuda-|triton)'; } > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean:  ## remove .venv and caches; the gradebook stays
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
