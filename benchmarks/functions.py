"""Call the Lambda functions' handlers in this process."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_CONTEXT = SimpleNamespace(
    function_name="benchmark",
    function_version="1",
    memory_limit_in_mb=1769,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:benchmark",
    aws_request_id="request-1",
    get_remaining_time_in_millis=lambda: 30_000,
)


class LambdaFunction:
    """The handler of a function, with its environment. Its logs are formatted and discarded.

    Parameters
    ----------
    name
        Name of the module in `lambda_predict`.
    env
        Environment variables besides those of all functions.
    """

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        os.environ |= {
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "POWERTOOLS_METRICS_NAMESPACE": "Digits",
            "POWERTOOLS_SERVICE_NAME": "benchmark",
            **env,
        }
        self._log = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the function lives
        with redirect_stdout(self._log):
            self.module: Any = importlib.import_module(f"lambda_predict.{name}")

    def __call__(self, event: Mapping[str, Any]) -> Any:
        """Call the handler with an event and return its answer."""
        with redirect_stdout(self._log):
            return self.module.handler(event, _CONTEXT)
