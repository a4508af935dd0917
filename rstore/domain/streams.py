"""Streams by their names, and the kinds that there are."""

from __future__ import annotations

from typing import Final, NamedTuple

from rstore.domain.operators import ONCE

KV: Final = "kv"
"""Kind of a key/value pair."""
TS: Final = "ts"
"""Kind of a time series."""
ES: Final = "es"
"""Kind of an event sequence."""
SS: Final = "ss"
"""Kind of the snapshots of an event sequence: private, and worth nothing without it."""
PROJECT: Final = "project"
"""Kind of the streams that hold the checkpoints of projections: private."""

KEYS: Final = "keys"
"""Kind of the stream that tells with which keys a namespace is written to: private, and never copied."""

SKIPPED: Final = "skipped"
"""Kind of the streams that list the skipped changes of projections, a record for each change: private."""

TAG: Final = "tag"
"""Kind of the streams of tags, a stream for each name: private, and copied."""

COPY: Final = "copy"
"""Kind of the streams that tell of copies: private to where something was copied to."""


class Stream(NamedTuple):
    """A stream's name. Streams of different kinds never clash over a key."""

    kind: str
    key: str


ORIGIN: Final = Stream(COPY, "origin")
"""What was copied has a record here, whose item tells it from where it came from, and from other copies.

Nothing is sealed in it: a copy of an encrypted namespace needs no key.
"""


def kind_of(stream: Stream) -> str:
    """Return the kind of a stream, that of all tokens being one.

    >>> kind_of(Stream('once/0cc175b9c0f1b6a8', 'key'))
    'once'
    """
    return ONCE if stream.kind.startswith(f"{ONCE}/") else stream.kind
