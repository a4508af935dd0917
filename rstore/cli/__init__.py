"""The command ``rstore``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command on the arguments of the process, and return its exit code."""
    try:
        from rstore.cli.program import run
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("rstore"):
            raise
        print(f"rstore: the command needs the package {exc.name}: pip install 'rlib-store[cli]'", file=sys.stderr)
        return 2
    return run(sys.argv[1:])
