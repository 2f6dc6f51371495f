# The two commands: `make demo` and `make test`. All they need is Python 3.11 or newer and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Storage of Dagster for the demo and the web interface, and of everything else that is not the lake.
export DAGSTER_HOME := $(CURDIR)/.dagster
export CORPUS_WORK  ?= $(CURDIR)/.corpus
export CORPUS_LAKE  ?= $(CURDIR)/lake
# Dagster marks stable features of this project's as beta; the warning helps nobody who runs it.
export PYTHONWARNINGS ?= ignore
PORT ?= 3000
SAMPLE_CRAWLS := SAMPLE-2025-05 SAMPLE-2025-18
MATERIALIZE := $(BIN)/dagster asset materialize -m corpus_dagster.definitions

.PHONY: setup demo test test-fast test-slow lint ui bench lock clean

setup: $(VENV)/ready

# Versions are pinned in requirements.lock; uv installs them in parallel, pip is the fallback.
$(VENV)/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@echo "setting up $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv 2>/dev/null || true
	@if test -x $(BIN)/uv; then \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock && \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .; \
	else \
	  $(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@mkdir -p $(DAGSTER_HOME) && cp deploy/dagster.local.yaml $(DAGSTER_HOME)/dagster.yaml
	@$(BIN)/corpus-dagster compile >/dev/null
	@touch $@

demo: setup
	@deploy/demo.sh $(SAMPLE_CRAWLS)

test: setup lint
	@$(BIN)/python -m pytest -m "not slow"

# Without the tests that start a browser or a cluster: for the time between edits.
test-fast: setup
	@$(BIN)/python -m pytest -m "not slow and not ui and not ray"

test-slow: setup
	@$(BIN)/python -m pytest -m slow

lint: setup
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/pyright --pythonpath $(BIN)/python

ui: setup
	@echo "http://127.0.0.1:$(PORT)"
	@$(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

bench: setup
	@$(BIN)/python -m benchmarks $(if $(WARC),--warc $(WARC))

lock: setup
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate pyproject.toml -o requirements.lock

clean:
	@rm -rf $(VENV) $(DAGSTER_HOME) .corpus lake
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
