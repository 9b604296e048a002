# make run       installs what is missing, runs the main study on real data, says where the report is
# make test      installs what is missing, lints, type-checks, tests
# make check     the same with the quick tests alone
# make test-all  the tests that are long by nature, which `make test` leaves out
# make docs      the pages of docs/ as a site, in build/site
# make gpu       what only a GPU can tell, in nine minutes at most: gpu.json and gpu.md in OUTPUT
# make lowest    tests that call every library, in the lowest versions that pyproject.toml allows, in an environment of their own
PYTHON ?= python3
BIN := .venv/bin
STUDY ?= studies/teacher_stability.yaml
OUTPUT ?= results
# Each takes up to 1.5 GB of memory.
WORKERS ?= logical
PYTEST := $(BIN)/pytest -n $(WORKERS) --maxprocesses 4
# Where it is set, each of the many processes that a run or a test starts compiles every file again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check test-all docs lowest gpu lint install clean

run: .venv/.installed
	$(BIN)/python -m sweep.run $(STUDY)

test: lint
	$(PYTEST) -m "not long"

check: lint
	$(PYTEST) -m "not slow"

test-all: .venv/.installed
	@echo "the tests that make test leaves out"
	$(PYTEST) -m long --durations 10

docs: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

lowest: .venv/.installed
	$(BIN)/python .ci/lowest.py

gpu: .venv/.installed
	$(BIN)/python -m benchmarks.gpu.day --output $(OUTPUT)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-lowest build *.egg-info
