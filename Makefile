# `make help` lists the commands. Everything is installed into .venv and nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready
RUN := runs/quickstart
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

# Two processes of two threads each are many times slower on two cores than two of one thread.
export OMP_NUM_THREADS := 1

# Another build of torch (UV_TORCH_BACKEND=cpu) needs none of the CUDA packages in the lock file,
# which then only constrains the versions.
ifdef UV_TORCH_BACKEND
LOCKED := -c requirements.lock -e .[dev]
else
LOCKED := -r requirements.lock
endif

.PHONY: help setup demo test test-all check format lock docs clean

help:  ## list these commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## install everything in requirements.lock into .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 setup"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(UV) pip install --quiet --python $(BIN)/python $(LOCKED)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: setup  ## run a small search on real images, then its report, family and export (five minutes)
	$(BIN)/cmt-search run search_spaces/quickstart.yaml --name quickstart
	$(BIN)/cmt-search report $(RUN)
	$(BIN)/cmt-search family $(RUN)
	$(BIN)/cmt-search export $(RUN)

test: setup  ## run the tests, except the slow ones
	$(PYTEST)

test-all: setup  ## run all tests, including the slow ones and the fault injection
	$(PYTEST) -m ''

check: setup  ## run what continuous integration runs: linters, type checks, tests, a few slow tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m 'not faults and (ci or not slow)'

format: setup  ## format the code and apply the automatic fixes of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup  ## update requirements.lock to the newest versions
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --extra dev \
	  --custom-compile-command "make lock" --upgrade pyproject.toml -o requirements.lock

docs: setup  ## build the documentation into build/site
	$(UV) pip install --quiet --python $(BIN)/python -e .[docs]
	$(BIN)/python docs/reference_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove .venv, all caches and the run of the demo
	rm -rf $(VENV) $(RUN) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
