# `make help` lists the commands. Every other command first sets up .venv, once.
SHELL := bash
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
# The first interpreter that is new enough. Choose another one with make PYTHON=...
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$p $(NEW_ENOUGH) && { echo $$p; break; }; done)
# First on the PATH, because the hooks look for uv there.
IN_VENV := set -e; export PATH="$$PWD/$(BIN):$$PATH";
RENDERED := {{cookiecutter.project_slug}}
DEMO ?= demo
# Not called MAKE: with that name in a recipe, make runs it even in a dry run.
SUBMAKE := $(MAKE) --silent
# Python starts twice as fast if it can keep its bytecode.
unexport PYTHONDONTWRITEBYTECODE
# Not in the practices' folder: a rendering copies all that is there.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/bytecode
# Compile once, at the installation.
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: rendering setup demo test lint format bench lock docs screenshot help

setup: .venv/installed ## install all that the tests need into .venv, with pinned versions

.venv/installed: requirements-dev.txt .venv/rendering
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --requirements requirements-dev.txt
	@touch $@

# Only what rendering needs, so that the demo does not wait for anything else.
rendering: .venv/rendering

.venv/rendering: requirements-dev.txt
	@test -n "$(PYTHON)" && $(PYTHON) $(NEW_ENOUGH) || { \
		echo "No Python >= 3.11 found: install one, or name it with make PYTHON=/path/to/python"; exit 1; }
	@$(BIN)/python $(NEW_ENOUGH) || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements-dev.txt)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements-dev.txt cookiecutter
	@touch $@

# With this configuration file, Cookiecutter ignores the user's own answers and keeps its replay file
# in the folder. The file also marks a folder that may be removed. A demo uses no tracking server.
demo: ## render the default project into demo/ (or DEMO=dir), run its pipeline, time each part
	@test -e "$(DEMO)/.demo.yaml" || test -z "$$(ls -A "$(DEMO)" 2>/dev/null)" || { \
		echo "$(DEMO) contains other files than a demo: use another folder with make demo DEMO=dir"; exit 1; }
	@set -e; unset MLFLOW_TRACKING_URI MLFLOW_REGISTRY_URI; times=; project="$(DEMO)/my-ml-project"; \
	part() { \
		local name="$$1" start=$$SECONDS; shift; printf '\n== %s\n' "$$name"; "$$@"; \
		times+="$$(printf '%6d s  %s' $$((SECONDS - start)) "$$name")"$$'\n'; }; \
	part "template environment" $(SUBMAKE) rendering; \
	test ! -e "$$project" || part "deletion of the last demo" rm -rf "$$project"; mkdir -p "$(DEMO)"; \
	echo "replay_dir: '$(DEMO)/.replay'" > "$(DEMO)/.demo.yaml"; \
	part "rendering, with the experiments" env PATH="$$PWD/$(BIN):$$PATH" \
		cookiecutter . --no-input --config-file "$(DEMO)/.demo.yaml" --output-dir "$(DEMO)"; \
	part "project environment" $(SUBMAKE) -C "$$project" setup; \
	part "pipeline" $(SUBMAKE) -C "$$project" run; \
	printf '\nSeconds of each part:\n%s%6d s  in all\n\nOpen the MLflow UI: make -C %s ui\n' \
		"$$times" $$SECONDS "$$project"

test: setup ## run the tests (some of them: make test ARGS="-k hook")
	@$(IN_VENV) python -m pytest -ra -n 2 --dist worksteal $(ARGS)

lint: setup ## check format, lint, types, workflows and English; changes nothing
	@$(IN_VENV) ruff format --config pyproject.toml --check .; ruff check --config pyproject.toml .; \
	mypy; mypy --config-file tests/practices/mypy.ini; zizmor --quiet --offline .github; actionlint; \
	python docs/prose.py

format: setup ## format the code and fix what lint can fix
	@$(IN_VENV) ruff format --config pyproject.toml .; ruff check --config pyproject.toml --fix .

bench: setup ## run every benchmark
	@$(IN_VENV) for script in $(filter-out %/common.py,$(wildcard benchmarks/*.py)); do python $$script; done

# The rendered locks are made with the practices' own code. Run the tests before you commit them.
lock: setup ## resolve again: the lock that the template ships, and the tools of the template
	@$(IN_VENV) dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; \
	echo "replay_dir: '$$dir'" > "$$dir/config.yaml"; \
	cookiecutter . --no-input --config-file "$$dir/config.yaml" --accept-hooks no --output-dir "$$dir"; \
	(cd "$$dir/my-ml-project"; UPGRADE=1 python src/mlflow_practices/environment.py); \
	cp "$$dir"/my-ml-project/requirements*.txt '$(RENDERED)'; \
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --group dev --no-header \
		--no-annotate --no-emit-index-url '$(RENDERED)/requirements-dev.txt' \
		--output-file requirements-dev.txt; git diff --stat -- '*requirements*.txt'

docs: setup ## write the outputs, trees and tables in README and docs again, from a live rendering
	@$(IN_VENV) python docs/make.py

screenshot: setup ## take the pictures of the MLflow UI in the documentation again
	@$(IN_VENV) python docs/screenshot.py

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
