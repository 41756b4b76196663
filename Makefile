# Two commands on a fresh machine: `make demo` and `make test`. All else is for people who work on the project.
UV_VERSION := 0.13.9
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.synced
SERVICES := $(BIN)/python -m deploy.local.services

# Which stores demo and dev work on: files in .geo/, or the local PostgreSQL and Azurite.
PROFILE := embedded
ON_embedded :=
ON_production := $(SERVICES) run --
ON = $(if $(filter embedded production,$(PROFILE)),$(ON_$(PROFILE)),$(error PROFILE is embedded or production, not $(PROFILE)))

# What the tests of a file share is made once: a file stays on one worker. In order: those that take long come first.
# Not by --dist loadgroup: pytest-xdist 3.8 with pytest 9.2 forgets the groups and says nothing (pytest-xdist issue 1386).
ON_TWO_WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo dev services services-stop test lint types imports check bench slow clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# uv from PyPI into the project's own environment, then exactly what is locked.
$(STAMP): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed, as $(PYTHON)."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Name another: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv"; exit 2; }
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@$(UV) sync --quiet --locked --all-extras --python $(BIN)/python
	@touch $@

demo: $(STAMP)  ## ingest a real raster and a real vector file into .geo/, or with PROFILE=production into PostGIS, pgSTAC and Blob
	@$(ON) $(BIN)/geo-platform demo

dev: $(STAMP)  ## the Dagster UI and daemon on the same
	@$(ON) $(BIN)/geo-platform dev

services: $(STAMP)  ## start the production profile's servers on this machine: PostgreSQL with PostGIS and Azurite
	@$(SERVICES) start

services-stop: $(STAMP)  ## end them; their data stays
	@$(SERVICES) stop

test: $(STAMP)  ## the suite
	@$(BIN)/python -m pytest $(ON_TWO_WORKERS) -m "not slow" $(PYTEST_ARGS)

slow: $(STAMP)  ## the tests that take long by their nature: stores that fail and come back, a whole deployment
	@$(BIN)/python -m pytest $(ON_TWO_WORKERS) -m slow $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	@$(BIN)/mypy

imports: $(STAMP)  ## who may import whom
	@$(BIN)/lint-imports

check: lint types imports  ## all three

bench: $(STAMP)  ## the alternatives beside ours, ratios into benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

clean:  ## remove the environment and caches; .geo/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
