# `make` lists the targets. Everything is installed into .venv next to this file, and nowhere else; networks are kept in
# the cache folder (docs/installation.md).

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast test-matrix docs demo bench format clean

BIN := .venv/bin
# Threads that wait give the processor away instead of spinning: next to other work several times faster.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0
export KMP_BLOCKTIME ?= 0
# Written when .venv matches the lock file, so that the next `make` skips the check.
STAMP := .venv/.installed

# One process per core, each with whole files, in the order of tests/conftest.py.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

# Real clips and small networks for the benchmarks, if present.
DATA ?= ../shared/data
CLIP ?= runs/bench/two_walkers.mp4

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything from uv.lock, extras included, into .venv

$(STAMP): uv.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup
	@touch $@

test: setup ## Check style, types and behaviour
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest $(PARALLEL)

test-fast: setup ## Check behaviour in two minutes: without the tests marked slow or real_data
	$(BIN)/pytest $(PARALLEL) -m "not slow and not real_data"

test-matrix: setup ## Run the tests that depend on the processor on ten emulated ones; an hour on two cores; MATRIX=--all: the whole suite, hours
	$(BIN)/python test_support/matrix.py --out runs/matrix.md $(MATRIX)

docs: setup ## Build the documentation into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

demo: setup ## Run the complete pipeline on rendered people, offline, within minutes
	$(BIN)/python -m synthetic.demo

bench: setup $(CLIP) ## Measure speed and robustness; CLIP=FILE: on your own video
	$(BIN)/python benchmarks/extract_vs_mmpose.py $(CLIP)
ifneq ($(wildcard $(DATA)/videos),)
	$(BIN)/python benchmarks/default_vs_accurate.py $(DATA)/videos/fight \
		--estimator $(DATA)/weights/simplepose_coco17_256x192.onnx --detector $(DATA)/weights/yolox_nano.onnx
	$(BIN)/python benchmarks/damaged_clips.py --codecs $(DATA)/videos/clips
else
	@echo "bench: no real clips in $(DATA), so the scripts that need them were left out"
endif

runs/bench/two_walkers.mp4: | $(STAMP)
	$(BIN)/python -c "from pathlib import Path; from test_support.videos.made_video import write_made_clip; \
		write_made_clip(Path('$@'), size=(1080, 1920), persons=2)"

format: setup ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove everything that was installed or built here
	rm -rf .venv .uv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
