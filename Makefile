# naruto-add: `make` lists the targets. The first call of any of them makes .venv and installs; later calls do not.

PYTHON ?= python3.11
RUN ?= runs/demo

BIN := .venv/bin
STAMP := .venv/.installed
TWO := --numprocesses 2 --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo bench test test-long lint format lock

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## virtual environment with exact versions, nothing else

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) not found: install Python 3.11, or make PYTHON=/path/to/it"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $(STAMP)

demo: $(STAMP)  ## the whole pipeline on the built-in data, 13 minutes on 2 cores; RUN=runs/demo
	$(BIN)/naruto-add run --recipe mini --run $(RUN)

bench: $(STAMP)  ## speed of training and drawing beside their peers, on a quiet machine; writes runs/bench
	$(BIN)/python -m jobs.bench

test: lint  ## lint, types, import rules and all tests
	$(BIN)/python -m pytest -m "not ray and not alone and not long" $(TWO)
	$(BIN)/python -m pytest -m "ray and not long" $(TWO)
	$(BIN)/python -m pytest -m alone $$(grep -rl mark.alone tests)

test-long: $(STAMP)  ## what takes minutes more: jobs on a cluster of three nodes, two copies of a server, all weights of SD 1.5
	$(BIN)/python -m pytest -m long

lint: $(STAMP)  ## lint, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(STAMP)  ## write requirements.lock anew, with the newest versions that pyproject.toml allows
	$(BIN)/python .ci/lock.py > requirements.lock.new
	mv requirements.lock.new requirements.lock
