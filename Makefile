# Every target sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell hack/find-python)
# The environment of the tests and checks: every extra and tool, about 900 MB.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# The environment of `make demo`: what the command `chaski` needs and nothing else, about 150 MB, so that the first try is quick.
DEMO_VENV := .venv-demo
DEMO_STAMP := $(DEMO_VENV)/.stamp
# The environment of `make docs`: the generator of the site, and what the command `chaski` needs, whose options it lists.
DOCS_VENV := .venv-docs
DOCS_STAMP := $(DOCS_VENV)/.stamp
# Twice as many test processes as a small machine has cores, since tests mostly wait. The tests of a file stay in one process, and
# files start in alphabetical order: the acceptance tests, which take longest, first.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder

# Programs for the tests against a real Kubernetes API server, of the chart and of the Terraform module.
KUBE_PROGRAMS := kube-apiserver etcd kubectl kube-controller-manager helm3 helm4 kubeconform tofu
# A folder of hack/kube/kubernetes; the newest one is used if the environment's CHASKI_KUBERNETES names none.
OLDEST_KUBERNETES := 1.35

.PHONY: help setup kube tools demo test test-fast test-landing test-cluster test-slow e2e lint format docs docs-serve dev bench lock clean chart cluster-up cluster-down campaign chaos first-message

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[36m%-13s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt pyproject.toml hack/setup hack/find-python
	@hack/setup "$(PYTHON)" "$(VENV)" dev
	@touch $@

$(DEMO_STAMP): requirements/tools.txt hack/setup hack/find-python
	@hack/setup "$(PYTHON)" "$(DEMO_VENV)" tools
	@touch $@

$(DOCS_STAMP): requirements/docs.txt hack/setup hack/find-python
	@hack/setup "$(PYTHON)" "$(DOCS_VENV)" docs
	@touch $@

setup: $(STAMP) ## create .venv with Chaski and the dependencies of its tests

kube: $(STAMP) ## build the programs of Kubernetes, Helm and OpenTofu for the tests, outside the checkout; the first time takes minutes
	@$(BIN)/python hack/kube/build.py --for-tests $(KUBE_PROGRAMS) >/dev/null

tools: ## install Debian packages for the tests (Prometheus, Chromium, jq, Lua, faketime, TypeScript, PostgreSQL), as root on Debian or Ubuntu
	@hack/test-tools

demo: $(DEMO_STAMP) ## send the experiment's messages to a test server and print the results
	@$(DEMO_VENV)/bin/python -P -m chaski_cli demo

# Each test is run by exactly one of test, test-landing, test-cluster, test-slow and e2e: pyproject.toml describes the markers.
# Only test-slow runs those of test-cluster again, on the oldest supported Kubernetes.
test: $(STAMP) ## unit, contract and acceptance tests that need only Python: 4 minutes on two cores
	@$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(STAMP) ## the unit and contract tests of make test
	@$(BIN)/python -m pytest $(PARALLEL) tests/unit tests/contract

test-landing: $(STAMP) tools ## before a change lands: long tests, and those that need Java and Maven, Debian packages or root
	@$(BIN)/python -m pytest $(PARALLEL) -m "landing and not (cluster or slow or e2e)"

test-cluster: $(STAMP) kube tools ## before a change lands: tests on a real Kubernetes API server, of chart and Terraform module (needs Go)
	@$(BIN)/python -m pytest $(PARALLEL) -m "cluster and not (slow or e2e)"

test-slow: $(STAMP) kube tools ## on no landing: tests of many minutes or a whole machine, and test-cluster on the oldest Kubernetes
	@$(BIN)/python -m pytest -m "slow and not e2e"
	@CHASKI_KUBERNETES=$(OLDEST_KUBERNETES) $(MAKE) test-cluster

e2e: $(STAMP) ## tests on a real one-node cluster, which this starts (root, Debian)
	@$(BIN)/python -m pytest -m e2e --durations=8 tests/e2e

SECONDS := 60
campaign: $(STAMP) tools ## faults under load, checked against the promises: SECONDS= SEED= BACKEND=embedded|sqs MESSAGES= ORDERING= FAULTS=
	@$(BIN)/python -m tests.campaign --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(BACKEND),--backend $(BACKEND)) \
	  $(if $(MESSAGES),--messages $(MESSAGES)) $(if $(ORDERING),--ordering $(ORDERING)) $(if $(FAULTS),--faults $(FAULTS))

chaos: $(STAMP) kube ## the operator under faults of its API server and AWS, checked by a judge: SECONDS= SEED= ROUTES= LEASE= FAULTS=
	@$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(ROUTES),--routes $(ROUTES)) \
	  $(if $(LEASE),--lease-seconds $(LEASE)) $(if $(FAULTS),--faults "$(FAULTS)")

first-message: $(STAMP) ## install the wheel into an empty environment, run chaski dev, send a message; prints times and size
	@hack/first-message "$(BIN)" "$(PYTHON)"

lint: $(STAMP) ## style, types, import directions, words, commit messages, CRDs
	@hack/lint "$(BIN)"

format: $(STAMP) ## format, and fix what can be fixed automatically
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: $(DOCS_STAMP) ## build the documentation as a site in build/site; a warning or a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --quiet
	@$(DOCS_VENV)/bin/python hack/site/check.py build/site

docs-serve: $(DOCS_STAMP) ## serve the documentation on http://127.0.0.1:8000, and build it again when a page changes
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs serve

dev: $(STAMP) ## run Chaski on this machine with examples/first-route.yaml
	@$(BIN)/chaski dev examples/first-route.yaml

chart: $(STAMP) ## write the generated files of the chart: the CRD, its README's values
	@$(BIN)/python hack/chart_files.py

bench: $(STAMP) ## measure, print ratios, write docs/performance.md
	@$(BIN)/python -m benchmarks

cluster-up: $(STAMP) ## start a one-node Kubernetes here, with the images and AWS emulators (root, Debian)
	@PYTHON="$(CURDIR)/$(BIN)/python" hack/cluster/up

cluster-down: ## stop the cluster of cluster-up
	@hack/cluster/down

lock: $(STAMP) ## resolve requirements/*.txt again (hashes, no addresses)
	@hack/lock "$(BIN)"

clean: ## remove the virtual environments and caches
	@rm -rf $(VENV) $(DEMO_VENV) $(DOCS_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
