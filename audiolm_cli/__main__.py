"""Where the program starts: as `audiolm`, or as `python -m audiolm_cli`."""

from __future__ import annotations

import sys
from typing import NoReturn

from audiolm_cli.cli.surroundings import settle_in
from audiolm_cli.packages import explain_import


def main() -> NoReturn:
    """Run one command and leave with its exit code; without the packages of the command line, with one line."""
    settle_in()
    try:
        from audiolm_cli.cli import app
    except Exception as error:
        told = explain_import(error)
        if told is None:
            raise
        print(f"audiolm: error: {told}", file=sys.stderr)
        sys.exit(told.exit_code)
    app.main()


if __name__ == "__main__":
    main()
