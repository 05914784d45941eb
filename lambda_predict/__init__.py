"""Thin interfaces to `digits` for AWS Lambda: one module per function."""

import gc
import os

# Looking through all that is installed for pydantic's plugins takes a tenth of a start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# So does looking for garbage in what a start imports, again and again while it grows: it all stays.
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    gc.disable()


def started() -> None:
    """Look for garbage from now on, but not in what is there: a function's module ends by this."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
