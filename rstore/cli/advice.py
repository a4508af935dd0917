"""Advice in messages: the library writes it for programmers, and commands show it for their users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ADVICE: Final[Mapping[str, str]] = {
    "open it with frozen=False to create it": "`rstore set` and others that write make one",
    "open it with plaintext=True to read unencrypted values too": "--plaintext reads those too",
    "open the store with key=[new, old]": "put it into a --key-file, in a line before the old one",
    "open the store with key=..., or write in clear beside them": (
        "say the key with --key-file, --ask-key or RSTORE_KEY, or --plain to write in clear beside them"
    ),
    "open the store with key=...": "say the key with --key-file, --ask-key or RSTORE_KEY",
    "pass the one that it was written with, or a list with old and new keys": "add its line to the --key-file",
    "pass that one too, as key=[new, old]": "add its line to the --key-file",
    "open the store with other_key=True": "say --other-key",
    "open it with that": "say which --serializer",
    "or open it with frozen=True": "or only read it",
    "open it with frozen=True, or ": "",
    "discard()": "`rstore discard`",
    "pass columns=..., each once, of these": "say --column, each once, of these",
    "columns=[...]": "--columns",
    "pass unit=": "say --unit ",
    "pass key=..., the key": "say with --series the key",
    "with key_column=...": "with --key-column",
    "duplicates='last'": "--duplicates last",
    "with time=...": "with --time",
    "TableOptions(date_format=...)": "--date-format",
    "TableOptions(decimal=..., thousands=...)": "--decimal and --thousands",
    "TableOptions(header=False)": "--no-header",
    "TableOptions(zone=...)": "--zone",
    "make one with rstore.new_key()": "make one with `rstore new-key`",
    "close it, and open it again": "run the command again",
    "close the store and open it again": "run the command again",
    "rekey() with plaintext=True": "`rstore rekey --plaintext`",
    "rekey()": "`rstore rekey`",
    "pass move=True": "say --move",
    "pass one that its follow() has yielded": "say one that `rstore follow` has shown",
}
"""The library's advice to programmers, and the same advice for a user of the command.

If the advice of one row contains that of another, the longer one comes first.
"""


def translated(message: str) -> str:
    """Return a message of the library with advice for the command line.

    >>> translated('encrypted: open the store with key=...')
    'encrypted: say the key with --key-file, --ask-key or RSTORE_KEY'
    """
    for advice, typed in ADVICE.items():
        message = message.replace(advice, typed)
    return message
