# make demo    a study of about a minute, and where its report is
# make test    the tests on every core, with coverage of mc held at the level of pyproject.toml
# make test-cluster    the tests that start real SLURM and Dask daemons
# make reproduce    every study of the paper, about 45 minutes on 2 cores: reports/paper/index.html
# make check   lint, format, types, import layers, links of the documentation, and its site
# make docs    the documentation as a site: site/index.html
# Each of them makes .venv from requirements.lock when it is missing or out of date.

PYTHON ?= python3
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo reproduce test test-cluster check docs bench lock clean

help:
	@echo "make demo | reproduce | test | test-cluster | check | docs | bench | lock | clean      (PYTHON=$(PYTHON), JOBS=$(JOBS))"

demo: $(INSTALLED)
	$(BIN)/dipmc run experiments/quickstart.toml -j $(JOBS)
	$(BIN)/dipmc report data/quickstart
	@echo "The report is in reports/quickstart/index.html"

# Goes on where it was stopped.
reproduce: $(INSTALLED)
	$(BIN)/dipmc reproduce --scale laptop -j $(JOBS)

# The site is built by `make check` alone, and the daemons are started by `make test-cluster` alone.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not cluster" --ignore=tests/test_site.py --cov=mc

test-cluster: $(INSTALLED)
	$(BIN)/python -m pytest -m cluster

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py tests/test_docs.py tests/test_site.py

# A warning is an error. The output folder is made anew: a page that is gone leaves nothing behind.
docs: $(INSTALLED)
	rm -rf site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env -c docs/site . site
	@echo "The site is in site/index.html"

# Timings depend on the machine: run by hand, never part of test.
bench: $(INSTALLED)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# One lock serves Python 3.11 to 3.14, so it is made with the oldest: later releases may have dropped it.
lock: $(INSTALLED)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "make lock needs a .venv of Python 3.11: make clean, then make lock PYTHON=python3.11" >&2; exit 1; }
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --strip-extras --extra dev --extra xarray \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
		--output-file requirements.lock pyproject.toml

# Data and reports stay: they are results.
clean:
	rm -rf .venv build dist site *.egg-info .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation is done again.
$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dipmc needs Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=python3.12, say" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
