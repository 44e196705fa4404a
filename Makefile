# `make run` and `make test` need Python 3.11 and nothing else: on first use the rest is set up in .venv. Only the tests want PostgreSQL,
# Redis and RabbitMQ, which are installed as Debian packages where they are missing.

BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: .venv/.server ## Serves gRPC and HTTP (ARGS="--config loom.yaml" passes flags on)
	@$(BIN)/loom-grpc serve $(ARGS)

.PHONY: test
test: .venv/.dev ## Runs the tests (ARGS="-k drain" passes flags on)
	@$(BIN)/pytest $(ARGS)

.PHONY: check
check: check-generated check-proto check-breaking check-style check-types check-imports test ## Runs everything that CI runs

.PHONY: check-generated
check-generated: .venv/.dev ## Compares loom_grpc/v1 with what proto/ generates
	@echo "generated code"
	@scripts/check_generated.sh

.PHONY: check-proto
check-proto: .venv/.dev ## Lints proto/ and its format
	@echo "buf lint, buf format"
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code

.PHONY: check-breaking
check-breaking: .venv/.dev ## Looks for changes of proto/ that break callers of main
	@echo "buf breaking"
	@scripts/check_breaking.sh

.PHONY: check-style
check-style: .venv/.dev ## Runs ruff
	@echo "ruff"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --diff

.PHONY: check-types
check-types: .venv/.dev ## Runs mypy
	@echo "mypy"
	@$(BIN)/mypy --no-error-summary

.PHONY: check-imports
check-imports: .venv/.dev ## Checks that imports point down
	@echo "import-linter"
	@out=$$($(BIN)/lint-imports --no-logo) || { echo "$$out"; exit 1; }

.PHONY: proto
proto: .venv/.dev ## Generates loom_grpc/v1 from proto/
	@scripts/generate.sh .

.PHONY: docs
docs: .venv/.dev ## Writes the generated pages of docs/
	@$(BIN)/python scripts/docs.py

.PHONY: format
format: .venv/.dev ## Formats Python and proto files and fixes what ruff can fix
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format --quiet
	@$(BIN)/buf format --write

.PHONY: bench
bench: .venv/.dev ## Measures the server against a bare gRPC handler
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-peers
bench-peers: .venv/.dev ## Measures the server beside other gateways
	@$(BIN)/python -m benchmarks.peers $(ARGS)

.PHONY: bench-governed
bench-governed: .venv/.dev ## Measures what access, limits, budgets, records and telemetry add
	@$(BIN)/python -m benchmarks.governed $(ARGS)

.PHONY: bench-frontends
bench-frontends: .venv/.dev ## Measures the first token through each front end
	@$(BIN)/python -m benchmarks.frontends $(ARGS)

.PHONY: proof
proof: .venv/.dev ## Runs the fault table, the failover scenarios, LLMock and the benchmark into docs/proof.md (ARGS="--quick")
	@$(BIN)/python -m proof $(ARGS)

.PHONY: lock
lock: .venv/.dev ## Raises the locked versions in requirements/
	@scripts/lock.sh

.PHONY: clean
clean: ## Removes .venv and caches
	@rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache tests/node/node_modules

.venv/.server: requirements/server.lock pyproject.toml
	@scripts/setup.sh server

.venv/.dev: requirements/dev.lock tests/node/package-lock.json .venv/.server
	@scripts/setup.sh dev
