# `make test` and `make demo` work on a machine with Python and its venv alone: they make .venv first.
PYTEST := .venv/bin/python -m pytest
# One process a core, one thread each; the tests of a file stay together because they share fixtures.
PARALLEL := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(PYTEST) --numprocesses auto --maxprocesses 8 --dist loadfile
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
	$(PARALLEL) -m "not slow"

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
