"""Building the indexes of a repository from its instances, and mending them, while others write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from attrs import Factory, define

from rstore.core import Core, now
from rstore.domain.errors import StoreConflictError, StoreError, StoreUniqueError
from rstore.domain.event_state import EventState
from rstore.domain.log import Batch
from rstore.domain.operators import SETITEM
from rstore.domain.paging import newest, pages
from rstore.domain.streams import ES, Stream
from rstore.models.event_states import current_states
from rstore.models.indexes import Declared, Description, FieldIndex, begun, description, new_secret, owners
from rstore.repository.indexes import Indexed, Indexes
from rstore.repository.listing import Errors, loaded_or_error

M = TypeVar("M")

_PAGE: Final = 256


class Reindexed(NamedTuple):
    """How many entries of indexes a call has added, and ended."""

    added: int
    ended: int


def reindexed(core: Core, indexes: Indexes[M], errors: Errors) -> Reindexed:
    """Build and mend all indexes of a repository: see :meth:`rstore.Repository.reindex`."""
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors is 'raise' or 'skip', not {errors!r}")
    core.check_writable()
    core.check_outside(lambda: StoreError("reindex() does not work inside a transaction: it reads what others write"))
    described = core.decide(partial(_declared, core, indexes))
    return _Reindexing(core, indexes, described, errors).run()


def _declared(core: Core, indexes: Indexes[M]) -> Description:
    """Return the description with all indexes in it. An encrypted one has a key of digests from here on."""
    found = description(core, indexes.mapping.prefix)
    whole = begun(core, found, indexes.kept)
    if whole.secret is None and core.envelope.sealer.has_key:  # the namespace was in clear before
        declared = tuple(each._replace(is_complete=False) for each in whole.declared)
        whole = whole._replace(secret=new_secret(core), declared=declared)
    core.indexes.pop(found.prefix, None)
    if whole is not found:
        core.append([whole.batch(core)])
    return description(core, indexes.mapping.prefix)


@define
class _Reindexing:
    """The state of a reindex.

    Attributes:
        doubles: the first pair of instances, for each unique field, that have the same value.
    """

    core: Core
    indexes: Indexes[Any]
    described: Description
    errors: Errors
    added: int = 0
    ended: int = 0
    doubles: dict[str, StoreUniqueError] = Factory(dict)

    @property
    def fields(self) -> list[tuple[Indexed, FieldIndex]]:
        """The fields and their indexes."""
        return [(field, self.indexes.index(self.described, field)) for field in self.indexes.fields.values()]

    def run(self) -> Reindexed:
        """End the entries that are out of date, so that unique values are free; then add the missing ones."""
        for index in self.described.in_clear():
            for page in pages((head.stream for head in self.core.log.heads(index.kind)), _PAGE):
                self._store(page, partial(self._ends, index))
        for field, index in self.fields:
            for page in pages((head.stream for head in self.core.log.heads(index.kind)), _PAGE):
                self._store(page, partial(self._endings, field, index))
        prefix = self.indexes.mapping.prefix
        for page in pages((head.stream for head in self.core.log.heads(ES, prefix)), _PAGE):
            self._store(page, self._additions)
        self.core.decide(self._complete)
        for error in self.doubles.values():
            raise error
        return Reindexed(self.added, self.ended)

    def _complete(self) -> None:
        """Say which indexes have all instances from now on."""
        found = description(self.core, self.indexes.mapping.prefix)
        full = {each for each in self.indexes.kept if each[0] not in self.doubles}
        declared = tuple(Declared(*each[:2], each.is_complete or each[:2] in full) for each in found.declared)
        if declared != found.declared and found.secret == self.described.secret:
            self.core.append([found._replace(declared=declared).batch(self.core)])

    def _store(self, page: Sequence[Stream], batches: Callable[[Sequence[Stream]], list[Batch]]) -> None:
        """Store the batches for a page of streams; by halves, if others write to one of them meanwhile."""
        try:
            found = batches(page)
            self.core.append(found)
        except StoreConflictError:
            if len(page) == 1:
                self.core.decide(lambda: self._store_one(page, batches))
                return
            for half in (page[: len(page) // 2], page[len(page) // 2 :]):
                self._store(half, batches)
        else:
            self._count(found)

    def _store_one(self, page: Sequence[Stream], batches: Callable[[Sequence[Stream]], list[Batch]]) -> None:
        found = batches(page)
        self.core.append(found)
        self._count(found)

    def _count(self, batches: Iterable[Batch]) -> None:
        changes = [batch.live for batch in batches if batch.entries != ()]
        self.added += changes.count(True)
        self.ended += changes.count(False)

    def _ends(self, index: FieldIndex, page: Sequence[Stream]) -> list[Batch]:
        """Return the ends of all entries of an index that is not in use any more."""
        pairs = zip(page, newest(self.core.log, page), strict=True)
        return [index.end(self.core, each, None, index.opened(self.core, each, last).key) for each, last in pairs]

    def _endings(self, field: Indexed, index: FieldIndex, page: Sequence[Stream]) -> list[Batch]:
        """Return the ends of entries whose instances have another value, or are gone."""
        records = list(newest(self.core.log, page))
        pairs = zip(page, records, strict=True)
        entries = [(stream, record) for stream, record in pairs if record is not None and record.op == SETITEM]
        keys = [index.opened(self.core, stream, record).key for stream, record in entries]
        batches: dict[Stream, Batch] = {}
        states = self._states(keys)
        for (stream, _), key, state in zip(entries, keys, states, strict=True):
            text = self._text(field, key, state)
            if text is None or (text and index.stream(text, key) == stream):
                continue
            unchanged = Batch(Stream(ES, self.indexes.mapping.prefix + key), (), now(), _version(state), if_live=True)
            batches[unchanged.stream] = unchanged
            batches[stream] = index.end(self.core, stream, None, key)
        return list(batches.values())

    def _additions(self, page: Sequence[Stream]) -> list[Batch]:
        """Return the entries that instances lack."""
        keys = [stream.key.removeprefix(self.indexes.mapping.prefix) for stream in page]
        wanted: dict[Stream, tuple[FieldIndex, str, str, EventState]] = {}
        for key, state in zip(keys, self._states(keys), strict=True):
            for field, index in self.fields:
                text = self._text(field, key, state)
                if text and isinstance(state, EventState):
                    stream = index.stream(text, key)
                    if stream in wanted:
                        self._double(index, key, wanted[stream][2])
                    else:
                        wanted[stream] = index, text, key, state
        batches: dict[Stream, Batch] = {}
        owned = owners(self.core, [(index, stream) for stream, (index, *_) in wanted.items()])
        for (index, text, key, state), (version, owner) in zip(wanted.values(), owned, strict=True):
            if owner == key:
                continue
            if owner is not None:
                self._double(index, key, owner)
                continue
            name = Stream(ES, self.indexes.mapping.prefix + key)
            batches[name] = Batch(name, (), now(), state.version, if_live=True)
            entry = index.entry(self.core, text, key, version)
            batches[entry.stream] = entry
        return list(batches.values())

    def _double(self, index: FieldIndex, key: str, owner: str) -> None:
        self.doubles.setdefault(index.field, StoreUniqueError(key, index.field, owner))

    def _states(self, keys: Sequence[str]) -> Iterator[EventState | StoreError | None]:
        return current_states(self.core, [self.indexes.mapping.prefix + key for key in keys])

    def _text(self, field: Indexed, key: str, state: EventState | StoreError | None) -> str | None:
        """Return the text of the value of an instance; empty if there is none, None if it can't be loaded."""
        if state is None or (isinstance(state, EventState) and state.deleted):
            return ""
        for instance in loaded_or_error(self.indexes.mapping, key, state, self.errors):
            return field.text(key, instance) if self.errors == "raise" else field.text_if_any(key, instance) or ""
        return None


def _version(state: EventState | StoreError | None) -> int:
    return state.version if isinstance(state, EventState) else 0
