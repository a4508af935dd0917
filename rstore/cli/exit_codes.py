"""How commands end: the table of exit codes, and the error that ends a command with one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OK: Final = 0
NEGATIVE: Final = 1
USAGE: Final = 2
STORE: Final = 3
INTERRUPTED: Final = 130
PIPE: Final = 141

EXIT_CODES: Final[Mapping[int, str]] = {
    OK: "done",
    NEGATIVE: "there is no such key, check found problems, or you said no",
    USAGE: "the command line is wrong: an argument or option is missing, unknown or invalid",
    STORE: "the store, a file or a server refused it; nothing was stored, unless the message says otherwise",
    INTERRUPTED: "interrupted with Ctrl-C",
    PIPE: "the reader of the output went away, as in `| head`",
}
"""What each exit code means. ``rstore --help`` shows this table."""


class CommandError(Exception):
    """A command can't go on. The message is for its user; ``code`` is the exit code."""

    def __init__(self, message: str, code: int = NEGATIVE) -> None:
        super().__init__(message)
        self.code = code


def check_usage(is_valid: bool, message: str) -> None:
    """Raise an error that says how to write the command, unless the user wrote it that way."""
    if not is_valid:
        raise CommandError(message, USAGE)
