# The two commands of the README, each from nothing: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# One thread a process: on small machines oversubscribed BLAS threads are many times slower.
export OMP_NUM_THREADS := 1
export DO_NOT_TRACK := 1

.PHONY: demo test check install clean

demo: install
	$(BIN)/mascing demo

test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

install: $(VENV)/.installed

# constraints.txt pins everything, torch included: a loose torch requirement pulls gigabytes of CUDA. torch comes first and
# by pip, so that a local CPU build that pip is configured to find is taken; uv does the rest in a tenth of pip's time.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MASCing needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
