"""Streams by their names, and the kinds that there are."""

from __future__ import annotations

from hashlib import sha256
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

FED: Final = "fed"
"""Kind of the streams that hold the checkpoints of projections from another store: private, and copied.

The item names a place in the log of that store, and the store. A copy has the read model too, so both go on fitting.
"""

KEYS: Final = "keys"
"""Kind of the stream that tells with which keys a namespace is written to: private, and never copied."""

SKIPPED: Final = "skipped"
"""Kind of the streams that list the skipped changes of projections, a record for each change: private."""

DELIVER: Final = "deliver"
"""Kind of the streams that hold the checkpoints of deliveries: private."""

DUE: Final = "due"
"""The sort of kinds of the streams that say how far a delivery has come with a stream, and who has it: private.

Each delivery has a kind for each kind of stream, in which those streams live that have something to be delivered. So
its queue is a list of heads. The key is that of the stream: on a cluster, both are in one partition.
"""

TAG: Final = "tag"
"""Kind of the streams of tags, a stream for each name: private, and copied."""

RETAIN: Final = "retain"
"""Kind of the streams that say how long something is kept, a stream for each pattern: private, and copied."""

INDEX: Final = "index"
"""Kind of the streams that say which fields of a repository have an index: private, a stream for each repository."""

IX: Final = "ix"
"""The sort of kinds of the entries of indexes: private, a kind for each field, and copied.

The key of an entry has a value in front. The entry lives while an instance has that value.
"""

COPY: Final = "copy"
"""Kind of the streams that tell of copies: private to where something was copied to."""


class Stream(NamedTuple):
    """A stream's name. Streams of different kinds never clash over a key."""

    kind: str
    key: str


ORIGIN: Final = Stream(COPY, "origin")
"""A copy has a record here, whose item tells it from its source and from other copies.

Nothing is sealed in it: a copy of an encrypted namespace needs no key.
"""

EXPIRY: Final = Stream("expiry", "")
"""Marks a namespace in which a key was ever given a value with an end: private, and copied. Elsewhere ``len`` need not
look for ends.
"""


def due_kind(name: str, kind: str) -> str:
    """Return the kind of the streams that say how far a delivery has come with streams of a kind.

    It has a digest of the name, since a name may have any characters.

    >>> due_kind('mail', 'es')
    'due/00d8d3f11739d2f3.es'
    """
    return f"{DUE}/{sha256(name.encode()).hexdigest()[:16]}.{kind}"


def kind_of(stream: Stream) -> str:
    """Return the kind of a stream, that of all tokens being one, of all queues, and of all entries of indexes.

    >>> kind_of(Stream('once/0cc175b9c0f1b6a8', 'key'))
    'once'
    """
    sort = stream.kind.partition("/")[0]
    return sort if sort in (ONCE, DUE, IX) else stream.kind
