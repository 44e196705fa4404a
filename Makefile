# `make run` and `make test` need Python 3.11 and nothing else: on first use the rest is set up in .venv. Only the tests want PostgreSQL,
# Redis, RabbitMQ and Chromium, which are installed as Debian packages where they are missing. `make check` wants the languages of all
# clients too: Go, Rust, Java with Maven, and Node.js.

BIN := .venv/bin
ARGS ?=
# A new language is one more folder with a Makefile; see CONTRIBUTING.md.
CLIENTS ?= $(patsubst %/Makefile,%,$(sort $(wildcard clients/*/Makefile)))

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
check: check-generated check-proto check-breaking check-release check-style check-types check-imports deploy/.tools/.done test check-clients conformance ## Runs everything that CI runs

.PHONY: check-generated
check-generated: .venv/.dev ## Compares the generated code of all languages with what proto/ generates
	@echo "generated code"
	@scripts/check_generated.sh

.PHONY: check-proto
check-proto: .venv/.dev ## Lints proto/ and its format
	@echo "buf lint, buf format"
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code

.PHONY: check-breaking
check-breaking: .venv/.dev ## Looks for changes of proto/ that break callers of the last release, or of main
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

.PHONY: gen
gen: $(CLIENTS:=/gen) ## Generates the code of all languages from proto/ (CLIENTS=clients/python for one)

.PHONY: check-clients
check-clients: $(CLIENTS:=/check) ## Formats, lints and tests in the folders of all languages

.PHONY: conformance
conformance: $(CLIENTS:=/build) ## Runs the same cases through all languages (ARGS="--only go --case deadline", ARGS=--write)
	@$(BIN)/python -m clients.conformance $(ARGS)

CLIENT_TARGETS := $(CLIENTS:=/gen) $(CLIENTS:=/check) $(CLIENTS:=/build)
.PHONY: $(CLIENT_TARGETS)
$(CLIENT_TARGETS): .venv/.dev
	@$(MAKE) -C $(@D) $(@F)

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

.PHONY: dashboards
dashboards: .venv/.dev ## Writes the dashboards and alerts in deploy/ from the table of metrics
	@$(BIN)/python scripts/dashboards.py

.PHONY: check-deploy
check-deploy: .venv/.dev deploy/.tools/.done ## Checks deploy/: manifests, image, compose, Envoy, collector, alerts, and a pod that drains
	@$(BIN)/pytest tests/deploy

.PHONY: lock
lock: .venv/.dev ## Raises the locked versions in requirements/
	@scripts/lock.sh

.PHONY: check-release
check-release: .venv/.dev ## Checks that versions, changelog, locks and licences agree
	@echo "versions, licences"
	@$(BIN)/python scripts/release.py check
	@$(BIN)/python scripts/licenses.py check

.PHONY: licenses
licenses: .venv/.dev ## Writes docs/licenses.md with the tools of all languages
	@$(BIN)/python scripts/licenses.py write

.PHONY: audit
audit: .venv/.dev ## Asks for known weaknesses of all dependencies; needs the network
	@$(BIN)/python scripts/audit.py $(ARGS)

.PHONY: wheel
wheel: .venv/.dev ## Builds the wheel and the source package into dist/, the same bytes from the same commit
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -d dist

.PHONY: sbom
sbom: .venv/.dev ## Writes what is inside of everything that is released to dist/, as CycloneDX
	@$(BIN)/python scripts/sbom.py dist

.PHONY: release
release: .venv/.dev ## Makes a release in this clone: version, changelog, commit and tags (VERSION=1.2.3)
	@scripts/release.sh $(VERSION)

.PHONY: clean
clean: ## Removes .venv, caches and what the clients have built
	@set -e; for client in $(CLIENTS); do $(MAKE) -C $$client clean; done
	@rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache deploy/.tools tests/node/node_modules

.venv/.server: requirements/server.lock pyproject.toml
	@scripts/setup.sh server

.venv/.dev: requirements/dev.lock tests/node/package-lock.json clients/typescript/package-lock.json tests/tools/go.sum .venv/.server
	@scripts/setup.sh dev

deploy/.tools/.done: deploy/tools/requirements.lock deploy/tools/go.mod deploy/tools/collector/main.go deploy/tools/install.sh | .venv/.dev
	@deploy/tools/install.sh
