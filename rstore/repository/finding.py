"""Finding instances by the values of their fields, with the indexes of a repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, TypeVar

from attrs import frozen

from rstore.core import Reading
from rstore.domain.errors import StoreError, StoreIndexError
from rstore.domain.paging import newest, pages
from rstore.domain.streams import ES, Stream
from rstore.encoding.ordered_texts import SEPARATOR, beginning
from rstore.models.event_states import current_states
from rstore.models.indexes import FieldIndex, Found, description
from rstore.repository.criteria import Range, range_of
from rstore.repository.indexes import Indexed, Indexes
from rstore.repository.listing import Errors, loaded_or_error

M = TypeVar("M")

_PAGE: Final = 256
_FIRST_PAGE: Final = 128


@frozen
class Search:
    """A search for instances: the index that it walks along, and the criteria for each instance."""

    index: FieldIndex
    field: Indexed
    first: Range
    others: Sequence[tuple[Indexed, Range]]

    def finds(self, found: Found, instance: object) -> bool:
        """Tell whether an instance meets all criteria, and its turn has come. A value without order meets none.

        If its value has grown since its entry was listed, it comes later in the list. Rejected: to compare the value of
        the entry alone. An instance whose value has become less would then not come at all, though it met the criteria.
        """
        text = self.field.text_if_any(found.key, instance)
        if text is None or not self.first.has(text) or self.index.place(text) > found.place:
            return False
        texts = ((field.text_if_any(found.key, instance), asked) for field, asked in self.others)
        return all(text is not None and asked.has(text) for text, asked in texts)


def search(core: Reading, indexes: Indexes[M], criteria: Mapping[str, Any]) -> Search:
    """Return the search for some criteria.

    Raises:
        TypeError, ValueError: there are none, or one is about a field without an index, or about no value.
        StoreIndexError: the first index lacks instances.
    """
    if not criteria:
        raise TypeError("name a field and its value, as in by(status='paid'); all() has all instances")
    for name in criteria:
        if name not in indexes.fields:
            known = ", ".join(indexes.fields) or "none: declare them with index= or unique="
            raise ValueError(f"{indexes.mapping.title} has no index of {name!r}; its indexes are {known}")
    (field, first), *others = [(indexes.fields[name], range_of(name, each)) for name, each in criteria.items()]
    found = description(core, indexes.mapping.prefix)
    is_complete = found.has(field.name, is_unique=field.is_unique)
    if not is_complete and next(core.log.heads(ES, indexes.mapping.prefix), None) is not None:
        raise StoreIndexError(indexes.mapping.title, field.name)
    return Search(indexes.index(found, field), field, first, others)


def found_by(
    core: Reading, indexes: Indexes[M], criteria: Mapping[str, Any], errors: Errors
) -> Iterator[tuple[str, M | StoreError]]:
    """Yield the key of each instance that meets criteria, and the instance or its error, in order of value and key."""
    asked, mapping = search(core, indexes, criteria), indexes.mapping
    for page in pages(_entries(core, asked.index, asked.first), _PAGE, _FIRST_PAGE):
        states = current_states(core, [mapping.prefix + found.key for found in page])
        for found, state in zip(page, states, strict=True):
            if state is None or (not isinstance(state, StoreError) and state.deleted):
                continue  # it was deleted meanwhile, or its entry is out of date
            for instance in loaded_or_error(mapping, found.key, state, errors):
                if isinstance(instance, StoreError) or asked.finds(found, instance):
                    yield found.key, instance


def count_by(core: Reading, indexes: Indexes[M], criteria: Mapping[str, Any]) -> int:
    """Return how many instances meet criteria. With a single one, none is loaded."""
    asked = search(core, indexes, criteria)
    if asked.others or not asked.first.is_exact:
        return sum(1 for _ in found_by(core, indexes, criteria, "raise"))
    if asked.index.secret is None or asked.first.is_one:
        return sum(1 for _ in _streams(core, asked.index, asked.first))
    return sum(1 for _ in _entries(core, asked.index, asked.first))


def _entries(core: Reading, index: FieldIndex, asked: Range) -> Iterator[Found]:
    """Yield the entries of values in a range, in order of value and key."""
    if index.secret is None or asked.is_one:
        return _opened(core, index, _streams(core, index, asked))
    # a digest tells of no order: all entries of the field are opened, and those in the range are in memory
    opened = _opened(core, index, (head.stream for head in core.log.heads(index.kind)))
    return iter(sorted(found for found in opened if asked.has(found.place)))


def _streams(core: Reading, index: FieldIndex, asked: Range) -> Iterator[Stream]:
    """Yield the streams of the entries of values in a range, as far as their names tell."""
    if asked.is_one:
        return (head.stream for head in core.log.heads(index.kind, index.name(asked.low) + SEPARATOR))
    low, high = beginning(asked.low), beginning(asked.high)
    listed = (head.stream for head in core.log.heads(index.kind, asked.within, after=low))
    return takewhile(lambda stream: beginning(stream.key.partition(SEPARATOR)[0]) <= high, listed)


def _opened(core: Reading, index: FieldIndex, streams: Iterator[Stream]) -> Iterator[Found]:
    """Yield entries as values and keys. It reads the records of those whose names do not tell both."""
    for page in pages(streams, _PAGE, _FIRST_PAGE):
        unnamed = [stream for stream in page if index.secret is not None or not index.is_named(stream)]
        records = dict(zip(unnamed, newest(core.log, unnamed), strict=True))
        for stream in page:
            record = records.get(stream)
            if record is not None or stream not in records:
                yield index.opened(core, stream, record)
