"""Indexes of the fields of domain models: streams whose names begin with a value, and live while an instance has it.

The key of an entry is the ordered text of a value, a separator, and the key of the instance. An entry of a unique field
has no key of an instance in its name, but in its record: so two instances can't have the same value.

In an encrypted namespace the name has a keyed digest in place of the text, and the text is sealed in the record. The
key of the digest is sealed, too: beside the list of the fields that have an index.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final, NamedTuple

import attrs
from attrs import frozen

from rstore.core import Core, Reading, now
from rstore.domain.log import Batch, Record, Rewrite
from rstore.domain.operators import DELITEM, INDEX_OF, SETITEM
from rstore.domain.paging import newest, pages
from rstore.domain.streams import ES, INDEX, IX, Stream
from rstore.encoding.bodies import NOTHING
from rstore.encoding.envelope import Envelope
from rstore.encoding.notes import note_body
from rstore.encoding.ordered_texts import CUT, SEPARATOR, cut, digest, ordered_text

NONE: Final = ordered_text(None)
_PAGE: Final = 256
_KEY_BYTES: Final = 480
"""A longer key of an instance has a digest in its place: an entry's key has at most 1024 bytes."""
_SECRET_BYTES: Final = 32
_FIELDS, _SECRET, _KEY, _VALUE = "fields", "secret", "key", "value"


class Found(NamedTuple):
    """An entry: the text by which it is in order, and the key of its instance.

    Attributes:
        place: the text of the value; in an index that is not encrypted of a long one the beginning and a digest.
    """

    place: str
    key: str


@frozen
class FieldIndex:
    """The index of a field of the instances whose keys have a prefix.

    Attributes:
        secret: the key of digests; None where the values are in clear.
        kind: the kind of its streams. It has a digest of the names, since these may have any characters.
    """

    prefix: str
    field: str
    is_unique: bool
    secret: bytes | None
    kind: str = attrs.field(init=False)

    @kind.default
    def _named_kind(self) -> str:
        named = "\0".join((self.prefix, self.field, "unique" if self.is_unique else ""))
        return f"{IX}/{self._digest(named)[:16]}"

    def stream(self, text: str, key: str) -> Stream:
        """Return the stream of the entry of a value, by its text, and of an instance."""
        return Stream(self.kind, f"{self.name(text)}{SEPARATOR}{self._tail(text, key)}")

    def name(self, text: str) -> str:
        """Return the beginning of the keys of the entries of a value."""
        return cut(text) if self.secret is None else self._digest(text)[:32]

    def place(self, text: str) -> str:
        """Return the text by which the entry of a value is in order."""
        return cut(text) if self.secret is None else text

    def entry(self, core: Core, text: str, key: str, expect: int | None = None) -> Batch:
        """Return the batch with which an instance gets a value."""
        stream = self.stream(text, key)
        words = {} if self.is_named(stream) else {_KEY: key}
        words |= {} if self.secret is None else {_VALUE: text}
        body = note_body(words) if words else NOTHING
        return Batch(stream, (core.envelope.entry(stream, SETITEM, body, start=0, end=0),), now(), expect)

    def end(self, core: Core, stream: Stream, expect: int | None, key: str) -> Batch:
        """Return the batch with which an instance, whose key is given, has a value no more."""
        body = NOTHING if self.is_named(stream) else note_body({_KEY: key})
        entry = core.envelope.entry(stream, DELITEM, body, start=0, end=0)
        return Batch(stream, (entry,), now(), expect, live=False, if_live=True)

    def owner(self, core: Reading, stream: Stream, record: Record) -> str:
        """Return the name of the instance that a record of an entry is about."""
        return self.prefix + self.opened(core, stream, None if self.is_named(stream) else record).key

    def erasing(self, core: Core, stream: Stream, names: Collection[str]) -> Rewrite:
        """Return the rewrite that takes some instances out of an entry. A unique value may have another owner."""
        head = core.base.head(stream)
        records = sorted(core.base.read(stream), key=attrgetter("version"))
        gone = [record.version for record in records if self.owner(core, stream, record) in names]
        lives = bool(records) and records[-1].op == SETITEM and records[-1].version not in gone
        return Rewrite(stream, head and head.version, gone, live=lives)

    def opened(self, core: Reading, stream: Stream, record: Record | None) -> Found:
        """Return the text and the key of an entry.

        Args:
            record: its newest one; None if the name of the stream is enough. One that ended it has no value.

        Raises:
            StorePayloadError: the record is damaged.
        """
        name, _, tail = stream.key.partition(SEPARATOR)
        if record is None:
            return Found(name, tail)
        words = entry_words(core.envelope, stream, record)
        place, key = words.get(_VALUE, name), words.get(_KEY, tail)
        is_whole = self.secret is None or _VALUE in words or record.op == DELITEM
        if type(place) is not str or type(key) is not str or not is_whole:
            raise core.envelope.error(stream, "its words are none of an entry")
        return Found(place, key)

    @staticmethod
    def is_named(stream: Stream) -> bool:
        """Tell whether the name of an entry has the key of its instance."""
        tail = stream.key.partition(SEPARATOR)[2]
        return bool(tail) and not tail.startswith(CUT)

    def _tail(self, text: str, key: str) -> str:
        if self.is_unique and text != NONE:
            return ""
        return CUT + digest(key) if key.startswith(CUT) or len(key.encode()) > _KEY_BYTES else key

    def _digest(self, text: str) -> str:
        data = text.encode()
        return sha256(data).hexdigest() if self.secret is None else hmac.digest(self.secret, data, "sha256").hex()


def entry_words(envelope: Envelope, stream: Stream, record: Record) -> Mapping[str, Any]:
    """Return the words in the record of an entry.

    Raises:
        StorePayloadError: it is damaged, or a newer version wrote it.
    """
    envelope.check_op(stream, record, (SETITEM, DELITEM))
    _, data = envelope.sealer.open(stream, record)
    return envelope.words(stream, record) if data else {}


class Declared(NamedTuple):
    """A field that has an index: whether its values are unique, and whether all instances are known to be in it."""

    field: str
    is_unique: bool
    is_complete: bool = False


class Description(NamedTuple):
    """The record of a namespace about the indexes of the instances whose keys have a prefix.

    Attributes:
        version: that of its stream; 0 if it says nothing.
    """

    prefix: str
    version: int
    declared: tuple[Declared, ...]
    secret: bytes | None

    def index_of(self, field: str, *, is_unique: bool) -> FieldIndex:
        """Return the index of a field."""
        return FieldIndex(self.prefix, field, is_unique, self.secret)

    def indexes(self) -> list[FieldIndex]:
        """Return all indexes, also those that are not complete or not in use."""
        return [self.index_of(each.field, is_unique=each.is_unique) for each in self.declared] + self.in_clear()

    def in_clear(self) -> list[FieldIndex]:
        """Return the indexes that were in use before the namespace had a key."""
        fields = () if self.secret is None else self.declared
        return [FieldIndex(self.prefix, each.field, each.is_unique, None) for each in fields]

    def has(self, field: str, *, is_unique: bool) -> bool:
        """Tell whether an index has all instances."""
        return Declared(field, is_unique, is_complete=True) in self.declared

    def batch(self, core: Core) -> Batch:
        """Return the batch that stores this, unless another writer has stored a description meanwhile."""
        stream = Stream(INDEX, self.prefix)
        words = {_FIELDS: list(map(list, self.declared)), _SECRET: None if self.secret is None else self.secret.hex()}
        entry = core.envelope.entry(stream, INDEX_OF, note_body(words), start=0, end=0)
        return Batch(stream, (entry,), now(), self.version)


def description(core: Reading, prefix: str) -> Description:
    """Return the description of the indexes of the instances whose keys have a prefix."""
    stream = Stream(INDEX, prefix)
    return described(core.envelope, stream, core.log.last((stream,))[0])


def described(envelope: Envelope, stream: Stream, record: Record | None) -> Description:
    """Return the description that the newest record of a stream of indexes holds.

    Raises:
        StorePayloadError: it is damaged, or a newer version wrote it.
    """
    if record is None:
        return Description(stream.key, 0, (), None)
    envelope.check_op(stream, record, (INDEX_OF,))
    words = envelope.words(stream, record)
    try:
        declared = tuple(Declared(str(field), bool(unique), bool(full)) for field, unique, full in words[_FIELDS])
        secret = None if words[_SECRET] is None else bytes.fromhex(words[_SECRET])
    except (KeyError, TypeError, ValueError) as exc:
        raise envelope.error(stream, "its words describe no index") from exc
    return Description(stream.key, record.version, declared, secret)


def descriptions(core: Reading) -> Iterator[Description]:
    """Yield the descriptions of the indexes of all repositories."""
    for page in pages(core.log.heads(INDEX), _PAGE):
        streams = [head.stream for head in page]
        for stream, record in zip(streams, newest(core.log, streams), strict=True):
            yield described(core.envelope, stream, record)


def begun(core: Core, found: Description, fields: Iterable[tuple[str, bool]]) -> Description:
    """Return the description for a writer that keeps the indexes of some fields, whose values are unique or not.

    It is the same one if it has these and no others. Where no instance lives yet, the new ones will all be in an index
    that is added. From an index that the writer does not keep, instances will be missing.
    """
    kept = set(fields)
    known = {(each.field, each.is_unique) for each in found.declared}
    others = [each for each in found.declared if each[:2] not in kept and each.is_complete]
    if found.version and not others and kept <= known:
        return found
    is_empty = next(core.log.heads(ES, found.prefix), None) is None
    declared = [each._replace(is_complete=False) if each in others else each for each in found.declared]
    declared += [Declared(*each, is_empty) for each in sorted(kept - known)]
    secret = new_secret(core) if not found.version else found.secret
    return found._replace(declared=tuple(declared), secret=secret)


def new_secret(core: Core) -> bytes | None:
    """Return a key of digests for the values of a namespace; None if it is not encrypted."""
    return secrets.token_bytes(_SECRET_BYTES) if core.envelope.sealer.has_key else None


class Owned(NamedTuple):
    """The entry of a unique value: the version of its stream, and the key of the instance that has it; or None."""

    version: int
    owner: str | None


def owners(core: Reading, asked: Sequence[tuple[FieldIndex, Stream]]) -> list[Owned]:
    """Return the owners of some unique values.

    Rejected: a replay of the newest record of each, in one round trip. Most values are free, and then a head is all
    there is: on a server, the replay took three times as long.
    """
    heads = [core.log.head(stream) for _, stream in asked]  # before the records: a write in between is a conflict
    taken = [(index, stream) for (index, stream), head in zip(asked, heads, strict=True) if head and head.live]
    records = core.log.last([stream for _, stream in taken]) if taken else ()
    pairs = zip(taken, records, strict=True)
    keys = {stream: index.opened(core, stream, record).key for (index, stream), record in pairs if record is not None}
    versions = [head.version if head else 0 for head in heads]
    return [Owned(version, keys.get(stream)) for (_, stream), version in zip(asked, versions, strict=True)]
