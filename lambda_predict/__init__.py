"""Thin doors over `digits` for AWS Lambda: one module per function."""
