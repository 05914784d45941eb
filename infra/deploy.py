"""Deploy the serving stack that `sam build` built, and print its addresses and monthly cost.

    python -m infra.deploy --set Architecture=arm64
    python -m infra.deploy --stack digits-prod --set Stage=prod --set AlarmEmail=me@example.com

Parameters that are not set keep their values; a new stack gets the template's defaults. In addition
to `sam deploy`, this command first removes the remains of a failed first deployment, and protects
a stack of the stage `prod` against removal. Region and credentials are boto3's defaults.
"""

from __future__ import annotations

import subprocess
from typing import Annotated, Any

import typer
from rich.console import Console

from infra import floor, stacks
from infra.stacks import CannotBeDone
from infra.templates import SERVING

console = Console(soft_wrap=True, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

# The stack's name is part of other names; the tightest limit is the state machine's: 80 characters,
# of which -backfill takes nine.
LONGEST_NAME = 71
SAMPLE = "tests/golden/seven.png"


@app.command()
def deploy(
    stack: Annotated[str, typer.Option(help="Name of the stack.")] = "digits",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="NAME=VALUE, a parameter of template.yaml; repeatable.",
        ),
    ] = None,
    sam: Annotated[str, typer.Option(help="Path of the SAM command line.")] = "sam",
    ask: Annotated[
        bool, typer.Option("--ask/--no-ask", help="Show the changes and ask before deploying.")
    ] = True,
) -> None:
    """Deploy the built stack, and print its addresses, an example call and its monthly cost."""
    if len(stack) > LONGEST_NAME:
        raise CannotBeDone(
            f"{stack} is {len(stack) - LONGEST_NAME} characters too long: AWS limits names with it"
            f" in them, so use at most {LONGEST_NAME}."
        )
    given = stacks.settings(settings or [], SERVING, "Stage=prod")
    stacks.clear_failed_creation(stack)
    offered = stacks.changes_not_made(stack)
    command = [sam, "deploy", "--stack-name", stack]
    command += [] if ask else ["--no-confirm-changeset"]
    command += ["--parameter-overrides", *stacks.overrides(given)] if given else []
    try:
        subprocess.run(command, check=True)  # noqa: S603 - our own command
    except FileNotFoundError as error:
        raise CannotBeDone(f"{sam} is not installed: run `make setup`.") from error
    except subprocess.CalledProcessError as error:
        raise CannotBeDone(
            f"sam deploy failed (exit code {error.returncode}): see its output above, and deploy"
            " again. An existing stack is unchanged."
        ) from error
    found = stacks.described(stack)
    # SAM exits with 0 also if the person declined the change.
    if not found.get("Outputs") or stacks.changes_not_made(stack) - offered:
        raise CannotBeDone("Nothing was deployed: the change was declined.")
    stacks.protect_production(stack)
    _tell(found)


def _tell(found: dict[str, Any]) -> None:
    outputs = {it["OutputKey"]: it["OutputValue"] for it in found["Outputs"]}
    costs = floor.monthly(stacks.parameters(found))
    key = (
        f"aws apigateway get-api-key --include-value --api-key {outputs['ApiKeyId']}"
        " --query value --output text"
    )
    parts = ", ".join(f"{name} {dollars:.2f}" for name, dollars in costs.items())
    console.print(
        f"\n[bold]API[/]        {outputs['ApiUrl']}"
        f"\n[bold]API key[/]    {key}"
        f"\n[bold]Images[/]     s3://{outputs['ImagesBucket']}"
        f"\n[bold]Labels[/]     s3://{outputs['LabelsBucket']}/labels/"
        f"\n[bold]Models[/]     s3://{outputs['ModelsBucket']}"
        f"\n[bold]Dashboard[/]  {outputs['DashboardUrl']}"
        f"\n[bold]Idle[/]       {sum(costs.values()):.2f} US dollars a month ({parts}); docs/aws.md"
        "\n\nTry:"
        f"\n  curl -H \"x-api-key: $({key})\" -H 'Content-Type: image/png'"
        f" --data-binary @{SAMPLE} {outputs['ApiUrl']}/classify"
        f'\n  make smoke URL={outputs["ApiUrl"]} KEY="$({key})"'
    )


if __name__ == "__main__":
    stacks.run(app)
