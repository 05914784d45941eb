"""`python -m digits.cli`, where the command itself is not installed: in the training image."""

from digits.cli import main

main()
