"""The commands: they parse and print, and leave the rest to the modules below.

A module a kind of command, each imported here so that it adds its commands to `app`.  Heavy imports
happen inside the commands, so that `--help` answers at once.
"""

from s2d_loop.cli import running, operating, showing, reviewing, preparing, making  # noqa: I001 - `--help` lists them in this order
from s2d_loop.cli.app import app, main

__all__ = ["app", "main", "making", "operating", "preparing", "reviewing", "running", "showing"]
