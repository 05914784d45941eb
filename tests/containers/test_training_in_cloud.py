"""`infra/training.yaml` in the local cloud: its state machine runs the real image, twice.

The local cloud has no registry to push to, no credentials endpoint that AWS's libraries accept, and
does not fail a step for its container's exit code; `tests/integration/test_training_machine.py`
covers failing steps.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from digits.cli import stack
from digits.registry import bundle, registry, runs
from digits.registry.object_store import S3Store
from infra.local.cloud import ROOT, STACK, Deployment, LocalCloud, tool
from infra.local.engine import Engine
from infra.local.processes import Processes
from tests.bundles import OLD, make_bundle
from tests.conftest import require
from tests.containers.conftest import COMMIT
from tests.served import REFRESH_SECONDS, Hammer, free_port, health

pytestmark = pytest.mark.container

TRAINING = "digits-training"
SAM = tool(".venvs/sam", "sam")
# `infra.training` calls the engine to inspect the image, tag it, log in and push; the last two do
# nothing here.
ENGINE = """#!/bin/sh
case "$1" in
    tag | image) exec /usr/bin/docker "$@" ;;
    login) cat > /dev/null ;;
esac
"""

CREDENTIALS = """FROM {image}
ENV AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
"""


@dataclass(frozen=True)
class Run:
    """One execution of the state machine, started as `make train-in-cloud` does."""

    name: str
    output: str
    history: list[dict[str, Any]]
    hammer: Hammer
    models: S3Store

    @property
    def steps(self) -> list[str]:
        entered = (event.get("stateEnteredEventDetails") for event in self.history)
        return [details["name"] for details in entered if details]

    @property
    def version(self) -> str:
        """The version that the run recorded in the models bucket."""
        return runs.version_of(self.name, self.models)


@pytest.fixture(scope="module")
def cloud(engine: Engine, tmp_path_factory) -> Iterator[LocalCloud]:
    """Start a local AWS that listens on the containers' bridge."""
    for program in (SAM, tool(".venvs/local-cloud", "ministack")):
        require(str(program))
    host, folder = engine.gateway, tmp_path_factory.mktemp("cloud")
    made = LocalCloud(free_port(host), host, engine.address)
    with Processes(folder / "logs") as processes:
        made.start(processes, folder)
        yield made


@pytest.fixture(scope="module")
def serving(cloud: LocalCloud, tmp_path_factory) -> Deployment:
    """Deploy the serving stack, with a poor model in service."""
    folder = tmp_path_factory.mktemp("serving")
    with Processes(folder / "logs") as processes:
        cloud.build(processes, folder / "build")
        deployment = cloud.deploy(processes, folder / "build")
    registry.publish(make_bundle(folder / "old", OLD, report=worse), models_of(cloud, deployment))
    return deployment


def models_of(cloud: LocalCloud, deployment: Deployment) -> S3Store:
    return S3Store(deployment.models_bucket, client=cloud.s3())


def worse(report: Any) -> None:
    report["test"] |= {"accuracy": 0.985, "expected_calibration_error": 0.01}
    report["test"]["negative_log_likelihood"] = 0.05
    for figures in report["outside"].values():
        figures["accuracy"] *= 0.8


@pytest.fixture(scope="module")
def deployed(cloud, serving, engine, image, tmp_path_factory) -> None:
    """Deploy the training stack with the command of `make deploy-training`."""
    folder = tmp_path_factory.mktemp("deployed")
    dockerfile, program = folder / "Dockerfile", folder / "docker"
    dockerfile.write_text(CREDENTIALS.format(image=image))
    program.write_text(ENGINE)
    program.chmod(0o755)
    done = training(
        *("deploy", "--serving", STACK, "--stack", TRAINING, "--sam", str(SAM)),
        *("--image", engine.build(dockerfile, folder, "digits-training:local-cloud")),
        *("--engine", str(program)),
        env=cloud.env | {"DOCKER_HOST": engine.address},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def training(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.training", *arguments],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(cloud, serving, deployed, say) -> Run:
    """Run the state machine once, while a client calls the API without pause."""
    say("Training in the local cloud (two minutes)")
    models, name = models_of(cloud, serving), "first"
    with Hammer(f"{serving.api_url}/classify", serving.api_key) as hammer:
        hammer.until(OLD, REFRESH_SECONDS)
        done = training(
            *("run", "--stack", TRAINING, "--name", name, "--seconds", "1"),
            *("--set", "DIGITS_ARCHITECTURE=reference", "--set", "DIGITS_RECIPE=quick"),
            env=cloud.env,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        hammer.until(current(models), REFRESH_SECONDS + 15)
    return Run(name, done.stdout, history(cloud, name), hammer, models)


def current(models: S3Store) -> str:
    found = registry.current(models)
    assert found is not None
    return found[0].version


def history(cloud: LocalCloud, name: str) -> list[dict[str, Any]]:
    machine = cloud.client("stepfunctions")
    arn = stack.outputs(TRAINING, cloud.client("cloudformation"))["StateMachineArn"]
    (execution,) = [
        it["executionArn"]
        for it in machine.list_executions(stateMachineArn=arn)["executions"]
        if it["name"] == name
    ]
    pages = machine.get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]


def test_a_run_trains_promotes_and_notifies(run):
    assert run.steps == ["Settings", "Capacity", "Train", "Promote", "TellPromoted"]


def test_the_trained_model_in_s3_is_complete_and_in_service(run):
    assert current(run.models) == run.version
    manifest = bundle.verify(registry.in_store(run.models, run.version))
    assert (manifest.architecture, manifest.recipe) == ("reference", "quick")
    assert manifest.metrics.test_accuracy >= 0.993
    assert manifest.git_commit == COMMIT  # set only in the image


def test_the_run_command_prints_the_containers_progress(run):
    assert run.output.startswith("started first\n")
    assert "epoch 6/6: held-out accuracy 99." in run.output
    assert f"{run.version} is in service" in run.output
    assert run.output.splitlines()[-1] == "succeeded"


def test_a_serving_function_switches_to_the_new_model_without_a_failed_request(run, serving):
    assert run.hammer.statuses == {200}
    assert run.hammer.versions == [
        OLD,
        run.version,
    ]  # no answer of OLD after the first of the new model
    assert health(serving.api_url) == run.version


def test_a_model_that_the_promotion_gate_refuses_is_not_promoted(run, cloud):
    """A model that is trained for a single epoch is worse than the one in service."""
    done = training(
        *("run", "--stack", TRAINING, "--name", "second", "--seconds", "1"),
        *("--set", "DIGITS_ARCHITECTURE=reference", "--set", "DIGITS_EPOCHS=1"),
        *("--set", "DIGITS_RECIPE=quick"),
        env=cloud.env,
    )
    assert "is not promoted: " in done.stdout, done.stdout + done.stderr
    time.sleep(1)
    assert current(run.models) == run.version
