"""Key/value pairs on their way into the log: as users give them, and set aside until all are known to be good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rstore.domain.log import Batch, Entry
from rstore.domain.streams import KV, Stream
from rstore.models.spool import Packing


def pairs_in(pairs: Any) -> Iterable[tuple[str, Any]]:
    """Return the pairs of a mapping, an object with ``keys``, or an iterable of pairs: ``dict`` takes the same."""
    if isinstance(pairs, Mapping):
        return pairs.items()
    return ((key, pairs[key]) for key in pairs.keys()) if hasattr(pairs, "keys") else pairs  # noqa: SIM118


def _packed(batch: Batch) -> tuple[Any, ...]:
    (_, key), (entry,), recorded, _, _, replace, _ = batch
    return key, recorded, replace, *entry


def _unpacked(fields: Sequence[Any]) -> Batch:
    key, recorded, replace, *entry = fields
    return Batch(Stream(KV, key), (Entry._make(entry),), recorded, None, True, replace)


def _size(batch: Batch) -> int:
    (entry,) = batch.entries
    return len(entry.data)


SETTINGS: Final = Packing(_packed, _unpacked, _size, order=lambda batch: batch.stream.key)


def last_of_each(settings: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the last batch of each stream, of batches in the order of their streams."""
    last = None
    for batch in settings:
        if last is not None and batch.stream != last.stream:
            yield last
        last = batch
    if last is not None:
        yield last
