# Two commands do everything on a fresh machine: `make search` and `make test`.
VENV ?= .venv
PY := $(VENV)/bin/python
PYTHON ?= python3
ARGS ?= --space bpr_hard
# As many processes as there are cores (JOBS=0: one, in which a debugger can be used).
JOBS ?= auto
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadgroup -p no:cacheprovider
QUICK := -m "not faults and not browser and not cluster and not server"
BENCH_PY := .bench-venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup search test test-shuffled check test-faults test-cluster test-browser test-server docs bench replay ui clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.run: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

setup: $(VENV)/.run ## install what the search needs into .venv

search: $(VENV)/.run ## the main job on MovieLens-100K (ARGS="--space bce --trials 20" for another)
	$(PY) run_search.py $(ARGS)

test: $(VENV)/.dev ## all quick tests (minutes)
	$(PYTEST) $(QUICK) --hypothesis-profile=same

test-shuffled: $(VENV)/.dev ## the same in random order, with examples that no run had before
	$(PYTEST) $(QUICK) -p randomly

check: $(VENV)/.dev ## format, lint, types, import rules, tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(MAKE) test

test-faults: $(VENV)/.dev ## kill schedules and outages with real processes (long)
	$(PYTEST) -m faults

.head-venv/.done: requirements.txt requirements-head.txt constraints.txt $(VENV)/.run
	@test -x .head-venv/bin/python || $(PY) -m venv .head-venv
	@# What the environment of the search has already is taken from there.
	$(PY) -c 'import os, sysconfig; print(os.path.realpath(sysconfig.get_path("purelib")))' >"$$(echo .head-venv/lib/python*/site-packages)/search.pth"
	.head-venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-head.txt -c constraints.txt
	@touch $@

test-cluster: $(VENV)/.dev .head-venv/.done ## a search over several machines, made of namespaces (needs root; installs sshd and rsync with apt-get)
	@command -v sshd rsync >/dev/null || (apt-get update -qq && apt-get install -y -qq openssh-server rsync)
	$(PY) -m pytest tests/cluster -p no:cacheprovider

test-browser: $(VENV)/.dev .docs-venv/.done ## report, MLflow pages and the site in headless Chromium (installs it with apt-get)
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium)
	$(PY) -m pytest -m browser

test-server: $(VENV)/.dev ## a search tracked in PostgreSQL, through MLflow's server too (installs it with apt-get)
	@test -d /usr/lib/postgresql || (apt-get update -qq && apt-get install -y -qq postgresql)
	$(PY) -m pip install --quiet --disable-pip-version-check psycopg2-binary==2.9.13
	$(PY) -m pytest -m server -p no:cacheprovider

.docs-venv/.done: requirements-docs.txt constraints.txt
	@test -x .docs-venv/bin/python || $(PYTHON) -m venv .docs-venv
	.docs-venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt -c constraints.txt
	@touch $@

docs: $(VENV)/.run .docs-venv/.done ## the documentation as a site, site/index.html; runs its tutorial (minutes)
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium) || echo "docs: there is no Chromium, so the tutorial has no pictures"
	$(PY) -m docs.making build/docs
	NO_MKDOCS_2_WARNING=1 .docs-venv/bin/mkdocs build --strict --config-file docs/making/mkdocs.yml

.bench-venv/.peers: benchmarks/requirements-peers.txt benchmarks/requirements-recbole.txt benchmarks/constraints.txt
	@test -x $(BENCH_PY) || $(PYTHON) -m venv .bench-venv
	$(BENCH_PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BENCH_PY) -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-peers.txt -c benchmarks/constraints.txt
	$(BENCH_PY) -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/requirements-recbole.txt
	@touch $@

bench: $(VENV)/.run .bench-venv/.peers ## speed against the peers, as ratios in one run (BENCH="--quick --only hard")
	$(PY) -m benchmarks.run $(BENCH)

REPLAYED := $(addprefix .bench-venv/replay/,ml-100k.parquet demo.parquet)

.bench-venv/replay/%.parquet: $(VENV)/.dev
	mkdir -p $(@D)
	$(PY) -m benchmarks.replay.record --data $* -o $@ $(RECORD)

replay: $(REPLAYED) ## searchers side by side on recorded trainings (recording takes an hour once)
	$(PY) -m benchmarks.replay.run $(REPLAYED) -o .bench-venv/replay/plots $(REPLAY)

ui: $(VENV)/.run ## the MLflow UI: prints its address, which opens on all searches
	$(PY) run_search.py ui

clean: ## remove the virtual environments, caches and the site (runs/ and mlflow/store/ stay)
	rm -rf $(VENV) .bench-venv .docs-venv .head-venv site build/docs .mypy_cache .ruff_cache .pytest_cache .hypothesis
