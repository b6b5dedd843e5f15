# Every target is explained by `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DATA := .data
TRL := .venv-trl/.installed
BENCHMARKS = $(patsubst benchmarks/%/__main__.py,%,$(wildcard benchmarks/*/__main__.py)) \
	$(filter-out __init__,$(basename $(notdir $(wildcard benchmarks/*.py))))
# How many processes `make test` shares the tests among; each starts servers of its own.
TEST_PROCESSES ?= 2
IN_PARALLEL = -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# Two cores serve several processes: OpenMP threads that spin cost the others more than they win.
export OMP_NUM_THREADS ?= 1
export GOMP_SPINCOUNT ?= 0

.DEFAULT_GOAL := help
.PHONY: help install up demo test test-unit test-slow test-all real-tokenizers chaos lint format typecheck migrate revision real-model bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-15s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything in it (done once; every target below does it)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
		{ echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
			"Name a newer one: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments (on Debian: apt install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[models,tables,registries,embedded,monitoring,dev]'
	@touch $@

up: install ## Start the whole stack and keep it running; Ctrl-C stops all of it
	@exec $(BIN)/python -m embedded up --with-parent --data-dir $(DATA)/up

# The demo's tool is a server on this machine, where tools may not go unless they are told.
demo: export TOOL_ALLOWED_HOSTS = 127.0.0.1
demo: install ## Run the main job of three companies on a stack of its own, restarted once, in about three minutes
	@exec $(BIN)/python -m embedded run --with-parent --fresh --data-dir $(DATA)/demo -- python -m demo
	@exec $(BIN)/python -m embedded run --with-parent --data-dir $(DATA)/demo -- python -m demo --again

test: install ## Run the tests, except the slow ones; or those of a path: make test T=tests/unit/web
	$(BIN)/python -m pytest $(if $(T),$(T),-m "not slow" $(IN_PARALLEL))

test-unit: install ## Run the tests that need no server
	$(BIN)/python -m pytest tests/unit $(IN_PARALLEL)

test-slow: install real-model real-tokenizers ## Run the slow tests alone
	$(BIN)/python -m pytest -m slow $(IN_PARALLEL)

# Two targets and not one run of both kinds, so that `make test test-all` runs no test twice.
test-all: test test-slow ## Run every test, in at most 40 minutes

real-tokenizers: install ## Unpack tokenizers and chat templates of real models into .data/tokenizers, once
	$(BIN)/python -m tests.real_tokenizers --out $(DATA)/tokenizers

chaos: install ## Kill everything under load, then audit: make chaos SEED=1 JOBS=10000
	$(BIN)/python -m tests.chaos --data-dir $(DATA)/chaos --jobs $(or $(JOBS),500) $(if $(SEED),--seed $(SEED))

lint: install ## Check style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: install ## Rewrite the source in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: install ## Check the types
	$(BIN)/mypy

migrate: install ## Bring the database up to date: DATABASE_URL's, else that of `make up`
	@exec $(BIN)/python -m embedded run --processes servers --data-dir $(DATA)/up -- python -m database upgrade

revision: install ## Write a migration from the models: make revision m="what changes"
	@test -n "$(m)" || { echo 'say what changes: make revision m="add a column"' >&2; exit 2; }
	@exec $(BIN)/python -m embedded run --processes servers --fresh --data-dir $(DATA)/revision -- \
		sh -c 'python -m database upgrade && exec python -m database revision "$$0"' "$(m)"

real-model: install ## Make a real small base model (SmolLM2-135M-Instruct) in .data/real-model, once
	$(BIN)/python -m base_model.real_model --out $(DATA)/real-model

# TRL needs packages that the product does not: it has an environment of its own.
$(TRL): benchmarks/requirements-trl.txt constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -r benchmarks/requirements-trl.txt
	@touch $@

bench: install $(if $(filter training,$(NAME)),$(TRL)) $(if $(filter real_model,$(NAME)),real-model) ## Run one of benchmarks/: make bench NAME=banking77 ARGS="DATA_DIR"
	@test -n "$(filter $(NAME),$(BENCHMARKS))" || { echo "name one with NAME=: $(BENCHMARKS)" >&2; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

clean: ## Delete caches, builds and throw-away data; .venv and the data of `make up` stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache $(DATA)/demo $(DATA)/revision $(DATA)/chaos
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
