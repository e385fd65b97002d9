# Every target sets up what it needs: a virtual environment in .venv from the hashed lock file.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell hack/find-python)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# A file's tests stay together; the files are begun in their order, the long acceptance tests first.
SIDE_BY_SIDE := -n 4 --dist loadfile --no-loadscope-reorder

# What the tests against a real Kubernetes API server run.
KUBE_PROGRAMS := kube-apiserver etcd kubectl kube-controller-manager helm kubeconform

.PHONY: help setup kube tools demo test test-fast test-slow e2e lint format dev bench lock clean chart cluster-up cluster-down campaign

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[36m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt pyproject.toml hack/setup hack/find-python
	@hack/setup "$(PYTHON)" "$(VENV)"
	@touch $@

setup: $(STAMP) ## make .venv with Chaski and everything that its tests need

kube: $(STAMP) ## build what the tests need of Kubernetes and Helm, outside the checkout; the first time takes minutes
	@$(BIN)/python hack/kube/build.py --for-tests $(KUBE_PROGRAMS) >/dev/null

tools: ## install Prometheus and Chromium for the tests, where they are missing and this is root on Debian
	@hack/test-tools

demo: $(STAMP) ## send the experiment to a test server and print what happened, exactly
	@$(BIN)/chaski demo

test: $(STAMP) kube tools ## unit, contract and acceptance tests
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-fast: $(STAMP) tools ## unit and contract tests only
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/unit tests/contract

test-slow: $(STAMP) kube tools ## what takes minutes or a whole machine
	@$(BIN)/python -m pytest -m slow

e2e: $(STAMP) ## everything on a real one-node cluster that this brings up (root, Debian)
	@$(BIN)/python -m pytest -m e2e --durations=8 tests/e2e

SECONDS := 60
campaign: $(STAMP) tools ## faults under load and a judge of its own: SECONDS= SEED= BACKEND=embedded|sqs MESSAGES= ORDERING= FAULTS=
	@$(BIN)/python -m tests.campaign --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(BACKEND),--backend $(BACKEND)) \
	  $(if $(MESSAGES),--messages $(MESSAGES)) $(if $(ORDERING),--ordering $(ORDERING)) $(if $(FAULTS),--faults $(FAULTS))

lint: $(STAMP) ## style, types, import directions, the CRD's schema
	@hack/lint "$(BIN)"

format: $(STAMP) ## format and mend what can be mended by itself
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

dev: $(STAMP) ## run Chaski on this machine with examples/first-route.yaml
	@$(BIN)/chaski dev examples/first-route.yaml

chart: $(STAMP) ## write what the chart holds a second time: the CRD, its README's values
	@$(BIN)/python hack/chart_files.py

bench: $(STAMP) ## measure, print ratios, write docs/performance.md
	@$(BIN)/python -m benchmarks

cluster-up: $(STAMP) ## a one-node Kubernetes here, with the images and stand-ins for AWS (root, Debian)
	@PYTHON="$(CURDIR)/$(BIN)/python" hack/cluster/up

cluster-down: ## end what cluster-up began
	@hack/cluster/down

lock: $(STAMP) ## resolve requirements/*.txt anew (hashes, no addresses)
	@hack/lock "$(BIN)"

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
