"""How commands end: the table of exit codes, and the error that says why one can't go on."""

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
    USAGE: "the command was not written as it has to be",
    STORE: "the store, a file or a server refused it; nothing was stored, unless the message says otherwise",
    INTERRUPTED: "interrupted with Ctrl-C",
    PIPE: "the reader of the output went away, as in `| head`",
}
"""What each exit code says. ``rstore --help`` shows this table."""


class Refusal(Exception):  # noqa: N818  # it is no error of the program
    """A command can't go on: what to tell its user, and the exit code."""

    def __init__(self, message: str, code: int = NEGATIVE) -> None:
        super().__init__(message)
        self.code = code
