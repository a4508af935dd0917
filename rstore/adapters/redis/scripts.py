"""The scripts that Redis runs for us, by their names: the files in ``lua/``. Each is atomic within a partition.

Redis has no rollback: a script that fails half-way leaves its first changes. So each checks everything before it
changes anything. Later failures are excluded otherwise: ``#!lua`` without flags refuses to start without memory to
spare, or where writes are refused.

A script declares all keys that it touches. In a cluster whose slots are moving, others would seem to be missing.
Numbers go out as text by ``%.0f``, since Lua writes large ones as 1e+15. Strings are never compared by ``<``, which
depends on the locale.

A script's text never changes, not by a byte: servers know it by its SHA-1, and other versions of rstore run the same.
So comments for the reader of a file are lines that begin with ``---``, which are not sent. In the text itself some
words differ from those of the Python code; the comment at the head of a file then says so.
"""

from __future__ import annotations

import re
from functools import cached_property
from hashlib import sha1
from importlib.resources import files
from typing import Final

_INCLUDE: Final = re.compile(r'--- @include "(.+)"')  # as in the scripts of BullMQ


class Script:
    """A script, read from its file when it is first used.

    One that is ``fenced`` gives out versions or positions. It may only run once the partition whose meta is its first
    key is above all that its server may have lost: see ``lua/fence.lua``.
    """

    def __init__(self, name: str, *, fenced: bool = False) -> None:
        self.name, self.fenced = name, fenced

    @cached_property
    def source(self) -> bytes:
        """The text that a server gets."""
        return _text_of(self.name).encode()

    @cached_property
    def sha(self) -> bytes:
        """The name that a server knows it by once it has seen it."""
        return sha1(self.source, usedforsecurity=False).hexdigest().encode()


def _text_of(name: str) -> str:
    """Return the text of a file, with the parts that it includes and without the comments that are not sent."""
    text = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="ascii")
    pieces = []
    for line in text.splitlines(keepends=True):
        if include := _INCLUDE.match(line):
            pieces.append(_text_of(include[1]))
        elif not line.startswith("---"):
            pieces.append(line)
    return "".join(pieces)


WRITE: Final = Script("write", fenced=True)
WRITE_SPREAD: Final = Script("write_spread", fenced=True)
NEWEST: Final = Script("newest")
REPLAY_EACH: Final = Script("replay_each")

BEGIN: Final = Script("begin")
PREPARE: Final = Script("prepare")
COMMIT: Final = Script("commit", fenced=True)
ABORT: Final = Script("abort")
ABORT_IF_OPEN: Final = Script("abort_if_open")
ADVANCE: Final = Script("advance")

CREATE: Final = Script("create")
FENCE: Final = Script("fence")
END: Final = Script("end", fenced=True)  # a new namespace goes on from the position that it returns
SWEEP: Final = Script("sweep")
RAISE_HIGH_WATER: Final = Script("raise_high_water")
