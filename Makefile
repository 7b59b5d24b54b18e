# `make test` and `make demo` work on a machine with Python and its venv alone: they make .venv first.
PYTEST := .venv/bin/python -m pytest
# BLAS and numba take every core by default; two threads keep timings and memory predictable.
export OMP_NUM_THREADS ?= 2
export NUMBA_NUM_THREADS ?= 2

.PHONY: setup test test-slow lint format demo clean

setup: .venv/.complete

.venv/.complete: pyproject.toml setup.py requirements/constraints.txt tools/setup.sh
	@bash tools/setup.sh
	@touch $@

ifdef PYTHON # which may be another one than that of .venv
.PHONY: .venv/.complete
endif

test: setup lint
	$(PYTEST) -m "not slow"

test-slow: setup
	$(PYTEST) -m slow

demo: setup
	.venv/bin/lidar-rank demo

lint: setup
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

clean:
	rm -rf .venv build *.egg-info
