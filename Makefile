# Two commands on a fresh machine: `make demo` and `make test`. The others are for work on the project.
UV_VERSION := 0.13.9
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.synced
SERVICES := $(BIN)/python -m deploy.local.services

# The stores of demo and dev: files in .geo/ (embedded), or the local PostgreSQL and Azurite (production).
PROFILE := embedded
ON_embedded :=
ON_production := $(SERVICES) run --
ON = $(if $(filter embedded production,$(PROFILE)),$(ON_$(PROFILE)),$(error PROFILE is embedded or production, not $(PROFILE)))

# A file stays on one worker, so that its fixtures are made once; the order puts slow files first. Not
# --dist loadgroup: pytest-xdist 3.8 with pytest 9.2 silently ignores the groups (pytest-xdist issue 1386).
ON_TWO_WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo dev services services-stop test lint types imports check bench slow rights corpus web clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# Install uv into the project's own environment, then exactly what is locked.
$(STAMP): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is required, and $(PYTHON) was not found. Name another: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is required; $(PYTHON) is $$($(PYTHON) -V). Name another: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv"; exit 2; }
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@$(UV) sync --quiet --locked --all-extras --python $(BIN)/python
	@touch $@

demo: $(STAMP)  ## ingest a real raster and a real vector file into .geo/, or with PROFILE=production into PostGIS, pgSTAC and Blob
	@$(ON) $(BIN)/geo-platform demo

dev: $(STAMP)  ## start the Dagster UI and daemon on the same data
	@$(ON) $(BIN)/geo-platform dev

services: $(STAMP)  ## start PostgreSQL with PostGIS and Azurite for PROFILE=production on this machine
	@$(SERVICES) start

services-stop: $(STAMP)  ## stop them; their data stays
	@$(SERVICES) stop

test: $(STAMP)  ## run the suite
	@$(BIN)/python -m pytest $(ON_TWO_WORKERS) -m "not slow" $(PYTEST_ARGS)

slow: $(STAMP)  ## run the slow tests: stores that fail and recover, a whole deployment
	@$(BIN)/python -m pytest $(ON_TWO_WORKERS) -m slow $(PYTEST_ARGS)

rights: $(STAMP)  ## send 100,000 generated requests to two deployments: none may tell of what the caller may not read
	@GEO_PLATFORM_TESTS_RIGHTS_REQUESTS=100000 $(BIN)/python -m pytest tests/e2e/test_serving_rights.py $(PYTEST_ARGS)

web:  ## build the map page from geo_platform/web/page into geo_platform/web/bundle; needs Node 20
	@cd geo_platform/web/page && npm ci --no-audit --no-fund && npm run build

corpus: $(STAMP)  ## ingest the sample data of published packages; compare with tests/corpus_outcomes.tsv (ACCEPT=1 rewrites it)
	@$(BIN)/python -m tests.support.corpus $(if $(ACCEPT),--accept)

lint: $(STAMP)  ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	@$(BIN)/mypy

imports: $(STAMP)  ## import-linter: who may import whom
	@$(BIN)/lint-imports

check: lint types imports  ## lint, types and imports

bench: $(STAMP)  ## measure alternatives beside ours; write ratios to benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

clean:  ## remove the environment and caches; keep .geo/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
