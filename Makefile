# Needs Python 3.11, 3.12 or 3.13 and make; everything else goes into .venv/ here.
# With another Python, side by side: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check docs wheel-check benchmarks lock clean

help: ## Say what each target does (this text).
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-18s%s\n", $$1, $$2 }'

# Two short passages: the small model gets lost in more (a third of the questions right, against a fifteenth with five long ones).
demo: $(READY) ## Index the sample corpus, answer its questions with the embedded model, and write a report to demo/.
	$(BIN)/ragloom models pull smollm2 minilm
	$(BIN)/ragloom index docs/sample/corpus --workspace demo --chunk-tokens 64
	$(BIN)/ragloom flow batch docs/sample/questions.jsonl --workspace demo --k 2 \
	  --out demo/answers.jsonl --report demo/report.md
	@sed -n '/^## Answers/,$$p' demo/report.md
	@echo "The report, with settings and scores, is demo/report.md"

test: $(READY) ## Run every test, in two processes; WORKERS=4 uses more.
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

check: $(READY) ## Lint, check the formatting, and check the types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(READY) ## Build the documentation as a site into site/; a warning is an error.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean

wheel-check: $(READY) ## Build the wheel from a fresh clone, compare it with the folders, install and import it.
	@$(BIN)/python .ci/wheel_check.py

# The scripts that the page names; the others need arguments, or write what notebooks answer from.
benchmarks: $(READY) ## Measure speed, retrieval and answers, and print the tables of docs/results.md (takes hours).
	@set -e; for script in benchmarks/*.py; do \
	  if grep -qF "$${script##*/}" docs/results.md; then echo "== $$script"; $(BIN)/python "$$script"; fi; \
	done

# Pins stay where they still fit; `make lock UPGRADE=--upgrade` moves them to the newest versions that do.
# uv, because pip cannot lock for platforms and Pythons other than its own.
lock: ## Write requirements.txt, every dependency with its hashes, anew from pyproject.toml.
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(PYTHON) -m venv "$$tools"; "$$tools/bin/pip" install --quiet uv; \
	"$$tools/bin/uv" pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet $(UPGRADE) -o requirements.txt

clean: ## Remove the virtual environment, the demo and everything else that was built.
	rm -rf .venv* demo benchmarks/workspaces site dist build .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock names every package, extras included, so --no-deps loses nothing; without it pip's hash mode refuses
# requirements such as `sqlalchemy[asyncio]`. `pip check` then proves that nothing was lost.
$(READY): requirements.txt pyproject.toml .ci/preflight.py
	@$(PYTHON) .ci/preflight.py
	@echo "Setting up $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@
