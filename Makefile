# Everything a developer or a newcomer does here. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo up test faults check fix bench bench-speed screenshots migrate doctor openapi lock clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.run ## Run the main job end to end (POOL=dir DATA=file.npz for a real pool, EXIT=1 stops)
	@python -m demo $(if $(POOL),--pool "$(POOL)") $(if $(DATA),--data "$(DATA)") \
		$(if $(ALGORITHM),--algorithm "$(ALGORITHM)") $(if $(PRESET),--preset "$(PRESET)") $(if $(EPISODES),--episodes "$(EPISODES)") \
		$(if $(PORT),--port "$(PORT)") $(if $(EXIT),--exit)

up: migrate ## Run the server: API, workers, schedule
	@honcho start

test: $(VENV)/.dev ## Run all tests
	@command -v chromium-headless-shell chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& { echo "Installing Chromium for the pages' tests ..."; apt-get update -qq >/dev/null 2>&1; apt-get install -y -qq chromium-headless-shell >/dev/null 2>&1; }; } \
		|| echo "The pages' tests will be skipped: apt-get install chromium-headless-shell"
	@OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadgroup

faults: $(VENV)/.dev ## Run the whole fault matrix: every fault on every broker
	@OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadgroup -m "matrix or not matrix" tests/e2e -k fault

screenshots: $(VENV)/.dev ## Take the tutorials' pictures of a server with the demo's models
	@python -m demo && python -m demo.screenshots; code=$$?; python -m demo --exit; exit $$code

check: $(VENV)/.dev ## Format, lint, types, import contracts
	ruff format --check .
	ruff check .
	mypy
	mypy --python-version 3.10 -p modelpool
	lint-imports

fix: $(VENV)/.dev ## Format, and mend what the linter can
	ruff format .
	ruff check --fix .

bench: $(VENV)/.dev ## Run the benchmarks, write docs/RESULTS.md (DATA=dir POOL=dir; RECIPES, SEEDS, DEVICE)
	@OMP_NUM_THREADS=$(or $(THREADS),1) python -m benchmarks.run $(or $(RECIPES),all) \
		$(if $(DATA),--data "$(DATA)") $(if $(POOL),--pool "$(POOL)") $(if $(SEEDS),--seeds "$(SEEDS)") \
		$(if $(DEVICE),--device "$(DEVICE)") $(if $(THREADS),--threads "$(THREADS)")
	@python -m benchmarks.compare

bench-speed: $(VENV)/.dev ## Measure answering, recovery, throughput, replay, write docs/RESULTS.md (POOL=dir; DEVICE)
	@test -n "$(POOL)" || { echo "Say where pools are: make bench-speed POOL=dir"; exit 1; }
	@OMP_NUM_THREADS=1 python -m benchmarks.answering --pool "$(POOL)" $(if $(DEVICE),--device "$(DEVICE)")
	@OMP_NUM_THREADS=1 python -m benchmarks.recovery --pool "$(POOL)" $(if $(DEVICE),--device "$(DEVICE)")
	@OMP_NUM_THREADS=1 python -m benchmarks.throughput --pool "$(POOL)" $(if $(DEVICE),--device "$(DEVICE)")
	@OMP_NUM_THREADS=1 python -m benchmarks.replay $(if $(DEVICE),--device "$(DEVICE)")
	@python -m benchmarks.compare

migrate: $(VENV)/.run ## Bring the database up to date; prints the first admin key once
	@python -m pool.setup

doctor: $(VENV)/.run ## Check this deployment's settings, services and workers
	@python -m pool.doctor

openapi: $(VENV)/.run ## Write docs/openapi.json from the code
	@python -m app.openapi > docs/openapi.json

lock: $(VENV)/.uv ## Compile the lock files anew from pyproject.toml
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile pyproject.toml --group demo $(LOCK) -o requirements.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile pyproject.toml --group dev -c requirements.lock $(LOCK) -o requirements-dev.lock

LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links -q

clean: ## Remove the environment and all state
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# uv, because torchvision's wheel loads only beside the torch build that the same index offers, and
# because it installs 5 GB in seconds. Bytecode is compiled at once: every job is a process of its own,
# and where nobody may write it later, each would compile torch anew for ten seconds.
$(VENV)/.uv:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: apt install python3, or set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; set PYTHON=python3.11"; exit 1; }
	@echo "Making the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) 2>/dev/null \
		|| $(BIN)/python -m pip install uv==$(UV_VERSION)
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements.lock
	@echo "Installing pinned packages (about 5 GB with CUDA's libraries) ..."
	@uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.uv requirements-dev.lock client/pyproject.toml
	@echo "Installing pinned packages for development ..."
	@uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e client
	@touch $@ $(VENV)/.run
