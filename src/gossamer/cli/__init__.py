"""The command line: ``gossamer demo | train | freeze | export | bench | inspect | report``.

Each command is one file in ``gossamer.cli.commands`` and is found by being there. Importing the command line
imports no torch: a command does so when it runs, so that ``gossamer --help`` answers at once.
"""

from __future__ import annotations

import sys

from gossamer.errors import MissingPackage


def main() -> None:
    """Run the command line with ``sys.argv`` and exit: the script ``gossamer`` and ``python -m gossamer``.

    Raises:
        SystemExit: always; 0 ok, 1 failure, 2 wrong usage or configuration.
    Cost: that of the command; ``--help`` imports no torch.
    """
    try:
        from gossamer.cli.app import app

        app()()
    except ModuleNotFoundError as error:
        print(f"error: {MissingPackage.behind(error)}", file=sys.stderr)
        raise SystemExit(1) from None
