# Everything that a person does here. Needs Python 3.10 to 3.13 with venv, make and git; the rest is
# brought by `make setup`, each environment hash-pinned by a file in requirements/.

PYTHON ?= python3
PORT ?= 4566
APP_PORT ?= 8501
ARCH ?= arm64
STACK ?= digits

BIN := .venv/bin
# Relative, because a target's name must not have spaces; whole for the functions' own Makefile.
UV_HERE := .venvs/uv/bin/uv
export UV := $(CURDIR)/$(UV_HERE)
SAM := .venvs/sam/bin/sam
LOCAL := $(BIN)/python -m infra.local --port $(PORT) --app-port $(APP_PORT)
COMPILE := $(UV_HERE) pip compile -q --universal --python-version 3.10 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"
READY := .venv/.ready
CLOUD_READY := .venvs/sam/.ready .venvs/local-cloud/.ready .venvs/checkov/.ready

export DIGITS_BUILD_ARCHITECTURE ?= $(ARCH)

.DEFAULT_GOAL := help
.PHONY: help setup run test check format test-containers train app bench build deploy smoke destroy training-image deploy-training train-in-cloud lock clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo "  Settings: ONCE=1 (run), TRAIN=1 (run), PORT, APP_PORT, ARCH=arm64|x86_64, STACK, ARGS (train, bench, deploy, destroy, deploy-training, train-in-cloud)"

setup: $(READY) $(CLOUD_READY)  ## Make the environments: development, SAM, local cloud.

run: setup  ## Train, deploy to a local cloud, label real pictures, serve app and API (ONCE=1: no serving).
	@$(LOCAL) $(if $(ONCE),--once) $(if $(TRAIN),--retrain)

test: check $(CLOUD_READY)  ## Run every test that this machine can run, on all its cores.
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-containers: setup  ## Run the tests in containers; as root on Debian they bring their own engine.
	$(BIN)/python -m pytest -m container tests/containers

check: $(READY)  ## Lint, check the formatting and the types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Format the code and mend what can be mended.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: $(READY)  ## Train a model into bundle/ (ARGS="--seed 2 --publish s3://…"; --help explains).
	$(BIN)/python -m training_job $(ARGS)

app: .venvs/app/.ready  ## Serve the app alone, with the model that ships with the code.
	.venvs/app/bin/streamlit run streamlit_app/app.py --server.port $(APP_PORT)

bench: setup  ## Measure what is quick, print what takes long from its records (ARGS=--record keeps it).
	@$(BIN)/python -m benchmarks $(ARGS)

build: setup  ## Build the functions for AWS (ARCH=arm64 or x86_64).
	$(SAM) build

deploy: build  ## Deploy to AWS (ARCH, STACK, ARGS="--set Stage=prod --set AlarmEmail=…"); docs/aws.md first.
	@$(BIN)/python -m infra.deploy --stack $(STACK) --sam $(SAM) --set Architecture=$(ARCH) $(ARGS)

smoke: $(READY)  ## Prove a deployed API from outside (URL, KEY).
	@KEY='$(KEY)' $(BIN)/python -m infra.smoke --url '$(URL)'

destroy: $(READY)  ## Remove the deployed stack and all that is in its buckets, after asking (STACK).
	@$(BIN)/python -m infra.destroy --stack $(STACK) $(ARGS)

training-image:  ## Build the training image (needs a container engine).
	DOCKER_BUILDKIT=1 docker build -f training_job/Dockerfile -t digits-training \
		--build-arg DIGITS_GIT_COMMIT="$$(git describe --always --dirty --abbrev=40)" .

deploy-training: training-image setup  ## Deploy the training stack beside STACK, and push the image.
	$(BIN)/python -m infra.training deploy --serving $(STACK) --stack $(STACK)-training --sam $(SAM) $(ARGS)

train-in-cloud: $(READY)  ## Run the training stack once, and promote what passes the gate.
	$(BIN)/python -m infra.training run --stack $(STACK)-training $(ARGS)

lock: $(READY)  ## Pin the newest versions of everything again.
	$(COMPILE) --upgrade requirements/dev.in -o requirements/dev.txt
	for set in lambda training; do \
		$(COMPILE) -c requirements/dev.txt requirements/$$set.in -o requirements/$$set.txt || exit 1; done
	$(COMPILE) -c requirements/dev.txt requirements/app.in -o streamlit_app/requirements.txt
	for set in uv sam local-cloud checkov rapidocr; do \
		$(COMPILE) --upgrade requirements/$$set.in -o requirements/$$set.txt || exit 1; done

clean:  ## Remove everything that was made here.
	rm -rf .venv .venvs .aws-sam .local-cloud bundle .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(UV_HERE): requirements/uv.txt
	$(PYTHON) -m venv --clear .venvs/uv
	.venvs/uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

# Another Python than 3.10 to 3.13: uv finds a supported one, or brings it.
$(READY): requirements/dev.txt pyproject.toml | $(UV_HERE)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
		|| echo "$$($(PYTHON) --version) is not supported (3.10 to 3.13 are); using another."
	$(UV_HERE) venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; \
		print(sys.executable if (3, 10) <= sys.version_info[:2] <= (3, 13) else ">=3.10,<3.14")')" .venv
	$(UV_HERE) pip sync --quiet --require-hashes --python $(BIN)/python requirements/dev.txt
	$(UV_HERE) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# What Community Cloud installs, and no more: Streamlit looks through all that is there as it starts.
# Compiled, for the first start would take twice as long.
.venvs/app/.ready: streamlit_app/requirements.txt $(READY)
	$(UV_HERE) venv --quiet --clear --python $(BIN)/python .venvs/app
	$(UV_HERE) pip sync --quiet --require-hashes --compile-bytecode --python .venvs/app/bin/python $<
	@touch $@

.venvs/%/.ready: requirements/%.txt $(READY)
	$(UV_HERE) venv --quiet --clear --python $(BIN)/python .venvs/$*
	$(UV_HERE) pip sync --quiet --require-hashes --python .venvs/$*/bin/python requirements/$*.txt
	@touch $@
