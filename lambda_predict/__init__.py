"""Thin doors over `digits` for AWS Lambda: one module per function."""

import os

# Looking through all that is installed for pydantic's plugins takes a tenth of a start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
