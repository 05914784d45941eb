"""Thin interfaces to `digits` for AWS Lambda: one module per function."""

import gc
import os

# Pydantic's search of all installed packages for plugins takes a tenth of a cold start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Disable the garbage collector during the cold start: imported modules are never freed.
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    gc.disable()


def started() -> None:
    """End the cold start: freeze the imported objects and enable the garbage collector.

    The last statement of each function's module calls this.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
