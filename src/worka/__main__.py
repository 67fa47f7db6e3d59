"""`python -m worka`: the command line."""

from worka.cli import main

main()
