"""The standard streams of the process: all of them are open at its start, and flushed at its end."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def replace_closed() -> None:
    """Open a replacement for each standard stream that the caller has closed, as in ``rstore log >&-``.

    Otherwise the next file that is opened gets its descriptor, and Python has None where a stream should be. The
    descriptors are filled in order, since each new one is the lowest that is free. Standard output is opened for
    reading only, so that writing to it fails, as it should.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  # it stays open as long as the process
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def print_error(message: str) -> None:
    """Print a line on standard error. If the write fails, nobody is left to read it, and that is no error."""
    with suppress(OSError):
        print(message, file=sys.stderr)


def discard(stream: TextIO) -> None:
    """Redirect a stream, with all that it still buffers, to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def flush() -> None:
    """Flush both output streams, so that the interpreter has nothing left to write at its exit.

    It would write then, after the command is over, and report a failure in its own words and with its own exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)
