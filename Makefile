# All targets that need .venv create it. Creating it needs Debian or Ubuntu with Python >= 3.11.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# Two processes divide the tests, file by file.
# A worker that crashes ends the run, which then names its test; a replaced one makes xdist hang or fail.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
DEMO := var/demo
# On a shared tracking server, the demo must not replace the champion that others use.
DEMO_MODEL := $(if $(MLFLOW_TRACKING_URI),sentiment_demo,sentiment)

# Prints the URI of the demo's model, which an earlier demo may have registered under the other name.
DEMO_URI := $(BIN)/python -c 'import json; print(json.load(open("$(DEMO)/finetune.json"))["model_uri"])'

# spark-submit runs the first python3 on PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Fails if the demo's model is not on the tracking server in use; it is then trained again.
define CHECK_DEMO_MODEL
import json, pathlib
from sentiment.models import registry
registry.use_tracking(pathlib.Path.cwd())
registry.resolve_model(json.loads(pathlib.Path('$(DEMO)/finetune.json').read_text())['model_uri'])
endef
export CHECK_DEMO_MODEL

.PHONY: help demo month-demo demo-model demo-adopt test unit pythons lint bench bench-quick bench-scale bench-online bench-gpu bench-train faults abuse java clean cluster-demo

help:
	@echo "make demo    fine-tune on the sample, score its 3,708 reviews in Spark (under 6 minutes)"
	@echo "             demo-adopt: adopt a classifier that was trained elsewhere (under 3 minutes)"
	@echo "make test    lint, types, layers and all tests (about 17 minutes)"
	@echo "make lint    lint, types and layers only"
	@echo "make unit    the unit tests that neither train nor load a model (about a minute)"
	@echo "             pythons: all unit tests with each Python from 3.11 to 3.13 that is installed, in clones in var"
	@echo "make bench   speed compared with alternatives, parity, cascade; writes docs/benchmarks.md (under 30 minutes)"
	@echo "             bench-quick: the same on few rows (under 5 minutes); bench-scale: up to a million rows;"
	@echo "             bench-gpu: the GPU; bench-online: the service compared with alternatives (under 15 minutes);"
	@echo "             bench-train: fine-tuning compared with a plain Trainer (under 5 minutes)"
	@echo "make faults  test the job against kills, damaged input and concurrent runs, and more (about 90 minutes)"
	@echo "make abuse   test the service against floods, forged requests and hostile models (under 10 minutes)"
	@echo "             ARGS goes to pytest: make faults ARGS='-k F1', make abuse ARGS='-k R3 --long'"
	@echo "make cluster-demo   score on a Spark cluster of three processes, and kill an executor"
	@echo "make month-demo   thirty nights with planted events, each reported on its night (about 5 minutes)"
	@echo "make clean   remove .venv and var"

demo: .venv/demo.installed java demo-model
	@rm -rf $(DEMO)/scores
	@echo "== Scoring the sample in Spark"
	@$(BIN)/spark-submit jobs/score_reviews.py --input sample --output $(DEMO)/scores \
	  --model_uri "$$($(DEMO_URI))" --summary $(DEMO)/score.json
	@echo "== The same model for one review: python score.py"
	@SENTIMENT_MODEL_URI="$$($(DEMO_URI))" $(BIN)/python score.py
	@echo "== Done. Summaries: $(DEMO)/finetune.json (a later demo reuses its model), $(DEMO)/score.json"

demo-model: .venv/demo.installed
	@$(BIN)/python -c "$$CHECK_DEMO_MODEL" 2>/dev/null || rm -f $(DEMO)/finetune.json
	@$(MAKE) --no-print-directory $(DEMO)/finetune.json

$(DEMO)/finetune.json: conf/demo.yaml | .venv/demo.installed
	@echo "== Fine-tuning minilm on the sample"
	@$(BIN)/python jobs/finetune.py --conf conf/demo.yaml --registered_model_name $(DEMO_MODEL) \
	  --alias champion --summary $@

# The classifier stands for one that someone already has; it is made once.
demo-adopt: .venv/demo.installed
	@test -f $(DEMO)/classifier/README.md || { echo "== Making a classifier from minilm, with plain transformers"; \
	  $(BIN)/python -m sentiment.training.demo_classifier $(DEMO)/classifier; }
	@echo "== Adopting it: export, comparison with float32, registration"
	@$(BIN)/python jobs/adopt.py --model $(DEMO)/classifier --registered_model_name $(DEMO_MODEL)_adopted \
	  --labels_from "NEGATIVE=negative,POSITIVE=positive" --max_length 128 --alias champion --summary $(DEMO)/adopt.json
	@echo "== The adopted model for one review: python score.py"
	@SENTIMENT_MODEL_URI="models:/$(DEMO_MODEL)_adopted@champion" $(BIN)/python score.py

unit: .venv/test.installed
	@$(PYTEST) tests/unit -m "not slow and (quick or not (reliability or abuse))"

# Each Python has a clone of its own, with its own .venv.
pythons:
	@for python in python3.11 python3.12 python3.13; do \
	  $$python --version >/dev/null 2>&1 || { echo "== $$python is not installed: not run"; continue; }; \
	  echo "== $$python"; \
	  rm -rf var/$$python; \
	  git clone -q . var/$$python; \
	  $(MAKE) --no-print-directory -C var/$$python .venv/test.installed PYTHON="$$(command -v $$python)"; \
	  (cd var/$$python && $(PYTEST) tests/unit); \
	done

test: lint java
	@echo "== Tests"
	@$(PYTEST)

cluster-demo: .venv/test.installed java
	@$(BIN)/python -m tests.cluster.demo

month-demo: .venv/test.installed java demo-model
	@$(BIN)/python -m tests.month.demo --model_uri "$$($(DEMO_URI))" $(ARGS)

lint: .venv/test.installed
	@echo "== Lint, types, layers"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The benchmarks measure the champion, which is the demo's model unless it was replaced.
bench: .venv/bench.installed java demo-model
	@$(BIN)/python -m benchmarks.batch

bench-quick: .venv/bench.installed java demo-model
	@$(BIN)/python -m benchmarks.batch --quick

bench-scale: .venv/bench.installed java
	@$(BIN)/python -m benchmarks.batch --sections scale

bench-online: .venv/bench.installed
	@$(BIN)/python -m benchmarks.online

bench-train: .venv/bench.installed
	@$(BIN)/python -m benchmarks.training

bench-gpu: .venv/bench.installed
	@$(BIN)/python -m benchmarks.batch --sections gpu

faults: .venv/test.installed java
	@mkdir -p var
	@$(BIN)/python -m pytest -m reliability --junitxml=var/faults.xml $(ARGS)

abuse: .venv/test.installed
	@mkdir -p var
	@$(BIN)/python -m pytest tests/abuse -m abuse --junitxml=var/abuse.xml $(ARGS)

# Each step prints a line, because pip is silent and takes minutes.
.venv/base.installed: setup.py
	@echo "== Setting up .venv (1/4): Python environment"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11: run make with PYTHON=python3.11 or newer" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || ( set -x; apt-get update -qq && \
	  apt-get install -y -qq python3-venv && rm -rf .venv && $(PYTHON) -m venv .venv ) || \
	  { echo "error: Python has no venv: run sudo apt-get install -y python3-venv" >&2; exit 2; }
	@echo "== Setting up .venv (2/4): torch, transformers and MLflow"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ".[torch]"
	@echo "== Setting up .venv (3/4): Spark"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ".[spark]"
	@touch $@

.venv/demo.installed: .venv/base.installed
	@echo "== Setting up .venv (4/4): the rest"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ".[demo]"
	@touch $@

.venv/test.installed: .venv/base.installed
	@echo "== Setting up .venv (4/4): the rest and the tools for tests"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ".[demo,app,dev]"
	@touch $@

.venv/bench.installed: .venv/demo.installed
	@echo "== Setting up .venv: the systems to compare with"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e ".[demo,bench]"
	@touch $@

# Spark needs Java 17 or newer.
java:
	@version() { "$${JAVA_HOME:+$$JAVA_HOME/bin/}java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'; }; \
	if [ "$$(version || true)" -ge 17 ] 2>/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "== Installing Java"; apt-get update -qq && \
	  { apt-get install -y -qq openjdk-17-jre-headless || apt-get install -y -qq openjdk-21-jre-headless; } \
	    >/dev/null && exit 0; \
	fi; \
	echo "error: Spark needs Java 17 or newer: run sudo apt-get install -y openjdk-17-jre-headless" >&2; exit 2

clean:
	rm -rf .venv var
