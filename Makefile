# `make demo` runs the whole job on faces made on the spot; `make test` runs the tests, `make quick` those that need
# neither Ray nor a process of their own; `make docs` builds the documentation. All set up `.venv` first.
PYTHON ?= python3
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile pyproject.toml --extra landmarker --extra pretrained --extra hub --group dev --group docs \
           --universal --python-version 3.11 --no-annotate --no-header -q -o requirements.lock
TWO := -n 2 --dist loadgroup --no-loadscope-reorder  # tests/conftest.py makes the groups and their order

.PHONY: demo test quick clusters wheel check docs bench lock clean setup

demo: setup
	$(BIN)/fersweep demo

test: setup
	$(BIN)/pytest $(TWO) -m "not clusters"

quick: setup
	$(BIN)/pytest $(TWO) -m "not ray and not processes and not slow and not clusters"

clusters: setup  # network namespaces, Slurm, an autoscaler, Ray jobs: what is not on this machine is skipped
	$(BIN)/pytest -m clusters

wheel: setup  # the wheel in an empty environment; .ci/wheel has options
	.ci/wheel

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

docs: setup  # build/site; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m tests.docs.blocks | tail -1

setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fersweep needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q "uv>=0.13"
	$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	touch $@

bench: setup  # what benchmarks/ compares with
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --group bench --constraint requirements.lock

lock:
	$(COMPILE)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
