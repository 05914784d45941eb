"""Training in the cloud: deploy the training stack, push its image, start a run.

python -m infra.training deploy          the stack of infra/training.yaml, and the image into it
python -m infra.training deploy --set ScheduleState=ENABLED --set NotificationEmail=me@example.com
python -m infra.training run             start one run, and print its log until it ends
python -m infra.training run --set DIGITS_SEED=2

Region and credentials are boto3's defaults.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from rich.console import Console

from digits.cli.stack import outputs
from infra import stacks
from infra.stacks import CannotBeDone

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "infra/training.yaml"
console = Console(soft_wrap=True, highlight=False)
# Names of CPU architectures: the container engine's, and Fargate's.
CPUS = {"amd64": "X86_64", "arm64": "ARM64"}
# Seconds until a new role is known in every region. AWS documents no figure; its own installers
# wait for 10.
ROLE_SETTLES = 15
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Stack = Annotated[str, typer.Option(help="Name of the training stack.")]


@app.command()
def deploy(
    stack: Stack = "digits-training",
    serving: Annotated[str, typer.Option(help="Name of the serving stack.")] = "digits",
    image: Annotated[str, typer.Option(help="Tag of the local image to push.")] = "digits-training",
    sam: Annotated[str, typer.Option(help="Path of the SAM command line.")] = "sam",
    engine: Annotated[str, typer.Option(help="Command of the container engine.")] = "docker",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="NAME=VALUE, a parameter of infra/training.yaml; repeatable.",
        ),
    ] = None,
) -> None:
    """Deploy the stack beside a serving stack, and push the image to its registry.

    A parameter that is not set keeps the value of the last deployment.
    """
    given = stacks.settings(settings or [], TEMPLATE, "ScheduleState=ENABLED")
    cpu = _cpu_of(image, engine)
    if given.setdefault("CpuArchitecture", cpu) != cpu:
        raise CannotBeDone(
            f"--set CpuArchitecture={given['CpuArchitecture']}: the image was built for {cpu};"
            " build it with DOCKER_DEFAULT_PLATFORM=linux/amd64 or linux/arm64."
        )
    if "ModelsBucket" not in given:
        given["ModelsBucket"] = outputs(serving)["ModelsBucket"]
    stacks.clear_failed_creation(stack)
    _create_role_of_ecs()
    _call(
        sam, "deploy", "--template-file", str(TEMPLATE), "--stack-name", stack,
        "--config-file", str(ROOT / "samconfig.toml"), "--no-confirm-changeset",
        "--parameter-overrides", *stacks.overrides(given),
    )  # fmt: skip
    stacks.protect_production(stack)
    repository = outputs(stack)["RepositoryUri"]
    _log_in(engine, repository)
    _call(engine, "tag", image, f"{repository}:latest")
    _call(engine, "push", f"{repository}:latest")


@app.command()
def run(
    stack: Stack = "digits-training",
    name: Annotated[
        str | None, typer.Option(help="Name of the run. Default: the current time.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="NAME=VALUE, an environment variable of the job; repeatable.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time between two polls, in seconds.")] = 5,
) -> None:
    """Start one run and print its log; exit with 0 if its model was promoted, else with 1."""
    found = outputs(stack)
    environment = _environment(settings or [])
    machine = boto3.client("stepfunctions")
    execution = machine.start_execution(
        stateMachineArn=found["StateMachineArn"],
        name=name or f"run-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}",
        input=json.dumps({"environment": environment} if environment else {}),
    )["executionArn"]
    console.print(f"started {execution.rpartition(':')[2]}")
    log, steps = _log_lines(found["LogGroup"]), _steps(execution)
    while True:
        status = machine.describe_execution(executionArn=execution)["status"]
        for line in [*next(steps), *next(log)]:
            console.print(line)
        if status != "RUNNING":
            break
        time.sleep(seconds)
    console.print(f"{status.lower().replace('_', ' ')}")
    raise typer.Exit(0 if status == "SUCCEEDED" else 1)


def _environment(settings: list[str]) -> list[dict[str, str]]:
    """Convert the job's settings to ECS's format."""
    given = [stacks.pair(setting, "DIGITS_SEED=2") for setting in settings]
    for name, value in given:
        if not name.startswith("DIGITS_"):
            raise CannotBeDone(f"--set {name}={value}: give NAME=VALUE, such as DIGITS_SEED=2.")
    return [{"Name": name, "Value": value} for name, value in given]


def _cpu_of(image: str, engine: str) -> str:
    """Return the CPU architecture of the image, which the task needs, by Fargate's name."""
    asked = (engine, "image", "inspect", "--format", "{{.Architecture}}", image)
    built_for = _call(*asked, answer=subprocess.PIPE).strip()
    if built_for not in CPUS:
        raise CannotBeDone(
            f"{image} is built for {built_for}, but Fargate has {' and '.join(CPUS)}: rebuild it."
        )
    return CPUS[built_for]


def _create_role_of_ecs() -> None:
    """Create ECS's service-linked role in this account, unless it exists.

    ECS creates it with an account's first cluster, but does not wait until the role is usable: the
    cluster fails, and the stack with it.
    """
    iam = boto3.client("iam")
    if not iam.list_roles(PathPrefix="/aws-service-role/ecs.amazonaws.com/")["Roles"]:
        iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
        console.print("created ECS's service-linked role in this account")
        time.sleep(ROLE_SETTLES)


def _steps(execution: str) -> Iterator[list[str]]:
    """Yield at each poll the execution's steps that were entered since the last poll."""
    machine = boto3.client("stepfunctions")
    told = 0
    while True:
        pages = machine.get_paginator("get_execution_history").paginate(executionArn=execution)
        events = [event for page in pages for event in page["events"] if event["id"] > told]
        told = max([told, *(event["id"] for event in events)])
        entered = [event["stateEnteredEventDetails"]["name"] for event in events
                   if "stateEnteredEventDetails" in event]  # fmt: skip
        yield [f"[bold]{name}[/]" for name in entered]


def _log_lines(group: str) -> Iterator[list[str]]:
    """Yield at each poll the containers' log lines since the last poll."""
    logs = boto3.client("logs")
    since, told = int(time.time() * 1000), set[str]()
    while True:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=since
        )
        events = [event for page in pages for event in page["events"]]
        fresh = [event for event in events if event["eventId"] not in told]
        told |= {event["eventId"] for event in fresh}
        yield [f"  {_message(event['message'])}" for event in fresh]


def _message(line: str) -> str:
    """Return the message of a JSON line; any other line unchanged."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line


def _log_in(engine: str, repository: str) -> None:
    """Log the engine in to the registry; ECR's password is valid for twelve hours."""
    answer: Any = boto3.client("ecr").get_authorization_token()
    token = answer["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    registry = repository.partition("/")[0]
    _call(engine, "login", "--username", user, "--password-stdin", registry, text=password)


def _call(*command: str, text: str | None = None, answer: int | None = None) -> str:
    """Run a program; its output goes to the terminal, or is returned with ``answer=PIPE``."""
    try:
        done = subprocess.run(command, input=text, stdout=answer, text=True, check=True)  # noqa: S603 - our own commands
    except FileNotFoundError as error:
        raise CannotBeDone(
            f"{command[0]} is not installed: install it, or name another with an option."
        ) from error
    except subprocess.CalledProcessError as error:
        raise CannotBeDone(
            f"{Path(command[0]).name} {command[1]} failed (exit code {error.returncode})."
        ) from error
    return done.stdout or ""


if __name__ == "__main__":
    stacks.run(app)
