# `make test` and `make demo` work on a machine with Python and its venv alone: they make .venv first.
PYTEST := .venv/bin/python -m pytest
# One process a core, one thread each; the tests of a file stay together because they share fixtures. A process that dies
# is not replaced: with loadfile, pytest-xdist 3.8 may then wait forever (its issue 784) instead of naming the test.
PARALLEL := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(PYTEST) --numprocesses auto --maxprocesses 8 --dist loadfile \
	--max-worker-restart 0
# BLAS and numba take every core by default; two threads keep timings and memory predictable.
export OMP_NUM_THREADS ?= 2
export NUMBA_NUM_THREADS ?= 2

.PHONY: setup test test-slow lint format demo docs docs-serve clean

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

# The site of the documentation, in build/site; a warning is an error, as is a link or an anchor that leads nowhere.
docs: .venv/.docs
	OMP_NUM_THREADS=1 .venv/bin/python -m sphinx -W --keep-going -n -q -c docs -d build/doctrees . build/site
	@echo "the site is in build/site: open build/site/index.html, or run 'make docs-serve'"

docs-serve: docs
	.venv/bin/python -m http.server --bind 127.0.0.1 --directory build/site 8000

.venv/.docs: .venv/.complete
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make docs needs Python 3.11 or later in .venv: make setup PYTHON=python3.11")'
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-build-isolation -c requirements/constraints.txt -e ".[docs]"
	@touch $@

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
