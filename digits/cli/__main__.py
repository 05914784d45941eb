"""`python -m digits.cli`: the command line without an installed script, in the training image."""

from digits.cli import main

main()
