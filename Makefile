# `make help` lists the targets. One virtual environment, .venv, grows with what a target needs;
# a stamp file per step keeps a second run from installing again.
PYTHON  ?= python3
VENV    ?= .venv
ARGS    ?=
WORKERS ?= 2

BIN   := $(VENV)/bin
PIP   := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' constraints.txt)
TYPED := lanpo_memory lanpo_rl $(wildcard tests/typing/*.py)

# No network and one thread: small kernels are faster so, and runs repeat exactly.
OFFLINE := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1

# The tests of a file stay in one process, with the fixtures that they share.
PYTEST := $(OFFLINE) $(BIN)/python -m pytest
TOGETHER := -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-servers lint types docs bench clean

help:  ## show this list
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@echo "Variables:"
	@echo "  PYTHON=$(PYTHON)  VENV=$(VENV)  ARGS=...  (arguments for demo, test, bench)"
	@echo "  WORKERS=$(WORKERS)  (tests at a time; 0: all in one process)"
	@echo "  TORCH_INDEX=URL  where to take $(TORCH) from, e.g. https://download.pytorch.org/whl/cpu"

demo: $(VENV)/.stamp-rl  ## train a tiny policy with and without memory on this CPU
	$(OFFLINE) $(BIN)/lanpo demo $(ARGS)

test: $(VENV)/.stamp-dev  ## the fast tests, doctests included
	$(PYTEST) $(TOGETHER) -m "not slow and not gpu and not server" $(ARGS)

test-slow: $(VENV)/.stamp-dev  ## the tests that train
	$(PYTEST) $(TOGETHER) -m "slow and not gpu and not server" $(ARGS)

test-servers: $(VENV)/.stamp-dev  ## the tests that start a Chroma server and a PostgreSQL cluster
	$(PYTEST) -m "server and not gpu" $(ARGS)

lint: $(VENV)/.stamp-ruff  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.stamp-dev  ## mypy --strict over both packages and tests/typing
	$(BIN)/python -m mypy $(TYPED)

docs: $(VENV)/.stamp-dev  ## run every code block of the README and of docs/
	$(PYTEST) tests/docs $(ARGS)

bench: $(VENV)/.stamp-dev  ## measure, next to bm25s, rank_bm25, Chroma and mem0 (half an hour)
	$(OFFLINE) $(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove the environment, caches and builds
	rm -rf $(VENV) benchmarks/.venv-peers build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "LANPO needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-ruff: $(VENV)/.stamp-venv constraints.txt
	$(PIP) install -q -c constraints.txt ruff
	@touch $@

# torch comes first and alone, exactly pinned: asked for as a range among other packages, the
# resolver may choose a build for another accelerator, of several GB.
$(VENV)/.stamp-rl: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	$(PIP) install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) install -q -c constraints.txt -e ".[rl]"
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-rl
	$(PIP) install -q -c constraints.txt -e ".[rl,bm25,llm,dev]"
	@touch $@
