# One command each; `make help` lists them. Everything is installed into .venv, nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready
RUN := runs/quickstart

# Two processes with two threads each on two cores run many times slower than with one.
export OMP_NUM_THREADS := 1

# A torch of another build (UV_TORCH_BACKEND=cpu) needs none of the CUDA packages that the lock
# lists: then the lock only bounds the versions.
ifdef UV_TORCH_BACKEND
LOCKED := -c requirements.lock -e .[dev]
else
LOCKED := -r requirements.lock
endif

.PHONY: help setup demo test test-all check format lock docs clean

help:  ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 setup"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(UV) pip install --quiet --python $(BIN)/python $(LOCKED)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: setup  ## search, report, family and export on real images: about five minutes
	$(BIN)/cmt-search run search_spaces/quickstart.yaml --name quickstart
	$(BIN)/cmt-search report $(RUN)
	$(BIN)/cmt-search family $(RUN)
	$(BIN)/cmt-search export $(RUN)

test: setup  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: setup  ## run the slow tests and the fault injection as well
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ''

check: setup  ## lint, format, types, import layers, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist worksteal

format: setup  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup  ## renew requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --extra dev \
	  --custom-compile-command "make lock" --upgrade pyproject.toml -o requirements.lock

docs: setup  ## build the site into build/site, the reference from the code
	$(UV) pip install --quiet --python $(BIN)/python -e .[docs]
	$(BIN)/python docs/reference_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove .venv, caches and the demo's run
	rm -rf $(VENV) $(RUN) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
