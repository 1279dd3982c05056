# `make sweep` and `make test` are all the set-up there is: each builds .venv when it is missing
# or older than the files it is made from. Python compiles a module when it is first imported, so pip
# compiles none: most of what the libraries bring is never imported.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: sweep test lint bench clean

.venv/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]' -c constraints.txt
	touch $@

sweep: .venv/.stamp
	$(BIN)/arbiter sweep --base-config sweep_templates/base_config.toml --strategy grid \
		--scale smoke --seeds 2 --gpus 0

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

# Whole files are dealt out to two processes, those that start Ray first.
test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: .venv/.stamp
	$(BIN)/python -m benchmarks.weight_decay
	$(BIN)/python -m benchmarks.nanogpt_cpu
	$(BIN)/python -m benchmarks.trial_price
	$(BIN)/python -m benchmarks.first_step
	$(BIN)/python -m benchmarks.plan_speed
	$(BIN)/python -m benchmarks.corpus_speed

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
