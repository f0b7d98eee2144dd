"""`python -m s2d_loop.cli` is the `s2d` command."""

from s2d_loop.cli import main

main()
