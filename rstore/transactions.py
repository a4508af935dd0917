"""Blocks whose writes have something in common: who and why, or that all are stored or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self, TypeVar, overload

from rstore.commits import ARGUMENTS, DID, Note
from rstore.core import ATTEMPTS, ActiveTransaction, Core, Surface, now, running
from rstore.domain.errors import StoreConflictError, StoreError
from rstore.domain.log import Batch
from rstore.domain.names import check_name
from rstore.domain.spans import check_time
from rstore.domain.streams import ES, Stream
from rstore.domain.transaction import Transaction
from rstore.state_cache import StateCache

T = TypeVar("T")


class Scopes(Surface):
    """Blocks whose writes have something in common, for each thread and asyncio task."""

    @contextmanager
    def context(
        self, who: str | None = None, why: str | None = None, did: str | None = None, **more: Any
    ) -> Iterator[None]:
        """Attach words to every write inside: who makes it, why, and any others. They are sealed like a value.

        Contexts nest: an inner one adds words to the outer, or replaces some. A context holds for the thread or asyncio
        task that entered it.

        Args:
            did: the name of what was decided, such as ``pay``. A :class:`Repository` gives it by itself.
            who, why, more: anything that JSON can hold, 16 KiB at most. None leaves a word as it is.

        Raises:
            TypeError, ValueError: JSON can't hold it.

        >>> with store.context(who='ada', why='ticket 42'):
        ...     store['price'] = 12
        >>> change = store.history('price')[-1]
        >>> change.who, change.why
        ('ada', 'ticket 42')
        """
        with context(self._core, {"who": who, "why": why, DID: did, **more}):
            yield

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Make all writes inside one append, across keys and models: all of them are stored at the end, or none.

        Reads inside see the writes inside. No other writer is locked out: if a key that was read inside has changed
        meanwhile, nothing is stored, and the caller may try again (:meth:`transact` does). An exception that leaves the
        block takes everything back. An inner block takes back only its own writes, and is stored with the outer one. A
        transaction belongs to the thread or asyncio task that entered it, not to others that this one starts. Its
        writes are kept in memory. Do not ``yield`` inside: the block has to end where it began.

        Raises:
            StoreConflictError: a key that was read has changed.

        >>> with store.transaction():
        ...     store['from'] = 1
        ...     store['to'] = 2
        """
        with transaction(self._core):
            yield self

    @overload
    def transact(self, work: Callable[[Self], T], attempts: int = ATTEMPTS) -> T: ...
    @overload
    def transact(self, work: Callable[[Self], T], attempts: int = ATTEMPTS, *, once: str) -> T | None: ...
    def transact(self, work: Callable[[Self], T], attempts: int = ATTEMPTS, *, once: str | None = None) -> T | None:
        """Return ``work(store)``, called in a :meth:`transaction`. A conflict with another writer starts it over.

        If ``work`` raises, and another writer has changed what it had read, that counts as a conflict too: it may have
        read one key from before the other's write, and one from after it.

        Args:
            attempts: the most calls of ``work``.
            once: an idempotency key: if it was used before, ``work`` is not called, and None is returned.

        Raises:
            StoreConflictError: another writer came in between each time.

        >>> store['stock'] = 3
        >>> def take(store):
        ...     store['stock'] -= 1
        ...     return store['stock']
        >>> store.transact(take)
        2
        """
        marker = None if once is None else self._core.marker(Stream("transaction", check_name("token", once)), once)

        def attempt() -> T | None:
            with transaction(self._core):
                if marker is not None:
                    if self._core.log.head(marker.stream) is not None:
                        return None
                    self._core.log.append([marker])
                with _unless_moved(self._core):
                    return work(self)

        return self._core.decide(attempt, check_time("attempts", attempts))


@contextmanager
def context(core: Core, given: Mapping[str, Any]) -> Iterator[None]:
    """Attach words to every write inside, besides those of the contexts around it."""
    outer = core.note.get()
    around = dict(outer.words) if outer else {}
    inner = {word: value for word, value in given.items() if value is not None}
    if DID in inner:
        around.pop(ARGUMENTS, None)  # those of the decision around
    words = around | inner
    token = core.note.set(Note.of(words) if words else None)
    try:
        yield
    finally:
        try:
            core.note.reset(token)
        except ValueError as exc:  # a framework entered the block in a thread, or a copy of the context, of its own
            raise StoreError(
                "a context has to end where it began: what was written inside may have no words beside it. In FastAPI, "
                "make the dependency an async def; elsewhere, open the context in a middleware"
            ) from exc


def unless_named(core: Core, did: str | None) -> AbstractContextManager[None]:
    """Name the decision that the writes inside come from, if no context around has named it."""
    note = core.note.get()
    is_named = did is None or (note is not None and DID in note.words)
    return nullcontext() if is_named else context(core, {DID: did})


@contextmanager
def _unless_moved(core: Core) -> Iterator[None]:
    """Raise StoreConflictError in place of an error, if a stream that the transaction has read has moved since."""
    try:
        yield
    except StoreConflictError:
        raise
    except Exception as exc:  # whatever the work raises on what it has read
        active = core.active.get()
        try:
            if active is not None:
                active.log.check_seen()
        except StoreConflictError as conflict:
            raise conflict from exc
        raise


@contextmanager
def transaction(core: Core) -> Iterator[None]:
    """Make all writes inside one append, or a part of that of the outer transaction."""
    core.check_writable()
    outer = core.active.get()
    if outer is not None:
        outer.check()
    with _outermost(core) if outer is None else _nested(outer):
        yield


@contextmanager
def _outermost(core: Core) -> Iterator[None]:
    active = ActiveTransaction(Transaction(core.base), StateCache(core.cache), running())
    token = core.active.set(active)
    try:
        yield
    finally:
        active.ended = True
        try:
            core.active.reset(token)
        except ValueError as exc:  # a generator that held the block was closed elsewhere
            raise StoreError("a transaction has to end where it began: nothing of it was stored") from exc
    batches = active.log.batches(now())
    if batches:
        _keep_states(core, active, batches, core.writer.append(batches))


def _keep_states(core: Core, active: ActiveTransaction, batches: Sequence[Batch], versions: Sequence[int]) -> None:
    """Cache the states that were folded inside, under the versions that their events have got."""
    for (stream, *_), version in zip(batches, versions, strict=True):
        folded = active.states.get(stream.key) if stream.kind == ES else None
        if folded is not None and folded.version == active.log.newest(stream):
            core.cache.put(stream.key, folded._replace(version=version))


@contextmanager
def _nested(active: ActiveTransaction) -> Iterator[None]:
    mark = active.log.mark()
    try:
        yield
    except BaseException:
        active.log.go_back(mark)
        active.states.clear()
        raise
