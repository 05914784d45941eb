"""Deploy the serving stack that `sam build` made, and say what is there now and what it costs.

    python -m infra.deploy --set Architecture=arm64
    python -m infra.deploy --stack digits-prod --set Stage=prod --set AlarmEmail=me@example.com

Parameters that are not set keep their values, in a new stack the template's defaults. Beyond what
`sam deploy` does, what a failed first deployment left is removed before, and a stack of the stage
`prod` is protected against removal. Region and credentials are AWS's own.
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

# The shortest of AWS's limits on a name that is made of the stack's: a state machine's, of 80
# characters, ends in -backfill.
LONGEST_NAME = 71
SAMPLE = "tests/golden/seven.png"


@app.command()
def deploy(
    stack: Annotated[str, typer.Option(help="Name of the stack.")] = "digits",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of template.yaml."),
    ] = None,
    sam: Annotated[str, typer.Option(help="SAM's program.")] = "sam",
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Whether to ask first.")] = True,
) -> None:
    """Deploy what was built, and print where it is, how to call it and what it costs."""
    if len(stack) > LONGEST_NAME:
        raise CannotBeDone(
            f"{stack} is too long by {len(stack) - LONGEST_NAME} characters: names of AWS that are"
            f" made of the stack's leave it {LONGEST_NAME}."
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
        raise CannotBeDone(f"{sam} is not installed; `make setup` brings it.") from error
    except subprocess.CalledProcessError as error:
        raise CannotBeDone(
            f"sam deploy failed (exit code {error.returncode}); above is why. Mend that, and deploy"
            " again: a stack that there was before is as it was."
        ) from error
    found = stacks.described(stack)
    # SAM ends well when the change that it showed was declined, too.
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
