# make run   installs what is missing, runs the main study on real data, says where the report is
# make test  installs what is missing, lints, type-checks, tests
PYTHON ?= python3
BIN := .venv/bin
STUDY ?= studies/teacher_stability.yaml

.PHONY: run test install clean

run: .venv/.installed
	$(BIN)/python -m sweep.run $(STUDY)

test: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

install: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
