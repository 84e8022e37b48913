"""`python -m simbench`."""

from simbench.cli.main import main

main()
