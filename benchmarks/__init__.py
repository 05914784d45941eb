"""Benchmarks: a command prints each figure in the documents; records have date and machine."""
