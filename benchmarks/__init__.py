"""Benchmarks: each figure in the README is printed by a command; records have date and machine."""
