# `make` alone says what can be made. Everything is installed into .venv beside this file, and nowhere else.

.DEFAULT_GOAL := help
.PHONY: help setup test demo bench format clean

BIN := .venv/bin
# Written when .venv holds what the lock file says, so that the next `make` need not look again.
STAMP := .venv/.installed

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything from uv.lock, extras included, into .venv

$(STAMP): uv.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup
	@touch $@

test: setup ## Check style, types and behaviour
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest

demo: setup ## Extract a clip made on the spot, to see all of it at work
	$(BIN)/python -m pipeline.demo

bench: setup ## Measure speed and robustness; see benchmarks/
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

format: setup ## Put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove what was installed and made here
	rm -rf .venv .uv build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
