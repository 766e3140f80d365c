# Taem: every command a newcomer needs. `make help` explains them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# More than cores: many tests wait for a server, a lease or a browser.
TEST_WORKERS ?= 3
# Bytecode kept from one run spares every worker seconds of reading the tests again.
unexport PYTHONDONTWRITEBYTECODE
CODE := app.py cli.py config.py demo.py history.py seed.py bot core engagement handlers insights loyalty models rich_menus scheduler simulator web worker

.PHONY: help
help:  ## Show this list
	@awk 'BEGIN {FS = ":.*##"} /^[a-z-]+:.*##/ {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.installed  ## Start the demo café: Taem, a stand-in LINE and a phone, all on this machine
	@exec $(BIN)/python demo.py --end-with-parent

.PHONY: own
own: $(VENV)/.installed  ## Open an empty shop of your own beside the phone: its guide leads to a live demo
	@exec $(BIN)/python demo.py --own-shop --end-with-parent

.PHONY: test
test: $(VENV)/.installed-dev  ## Run every test, on SQLite and on a PostgreSQL of its own
	$(PYTEST) -n $(TEST_WORKERS) --dist worksteal

.PHONY: check
check: $(VENV)/.installed-dev  ## Format, lint, types, layers, migrations, then every test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml $(CODE)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export DATABASE_URL="sqlite:///$$folder/check.db" && \
		echo "$(BIN)/alembic check" && $(BIN)/alembic upgrade head && $(BIN)/alembic check
	$(PYTEST) -n $(TEST_WORKERS) --dist worksteal

.PHONY: soak
soak: $(VENV)/.installed-dev  ## Fault, race and kill tests at their full figures (long)
	@failed=0; export TAEM_SOAK=1; \
	$(PYTEST) -m "soak and not alone" -n $(TEST_WORKERS) --dist worksteal -o faulthandler_timeout=0 || failed=1; \
	$(PYTEST) -m "soak and alone" -o faulthandler_timeout=0 || failed=1; \
	exit $$failed

.PHONY: bench
bench: $(VENV)/.installed-dev  ## Benchmarks, each as a ratio to a limit measured in the same run
	$(BIN)/python -m benchmarks

.PHONY: format
format: $(VENV)/.installed-dev  ## Rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: audit
audit: $(VENV)/.installed-dev  ## Look up known weaknesses of the pinned packages (needs the network)
	$(BIN)/pip-audit --requirement requirements.txt --require-hashes --disable-pip

.PHONY: lock
lock:  ## Pin requirements.in and requirements-dev.in again, with hashes (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 1; }
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet requirements.in --output-file requirements.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet requirements-dev.in --output-file requirements-dev.txt

.PHONY: clean
clean:  ## Remove what tests and checks leave behind; the café's data in instance/ stays
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis test-results
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

# The stamp is written last, so an interrupted installation is simply done again. `.installing` says that the folder
# may hold half a package: then it is built from nothing.
$(VENV)/.installed: requirements.txt
	@deploy/install.sh $(VENV) requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt
	@deploy/install.sh $(VENV) requirements-dev.txt
	@touch $(VENV)/.installed $@
