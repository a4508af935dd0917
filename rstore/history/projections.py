"""The calls with which users keep read models up to date: in the store itself, or in another store or database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Self, TypeAlias, TypeVar

from attrs import evolve

from rstore.commits import WRITER
from rstore.core import Core, Surface, core_of, until_unmoved
from rstore.domain.errors import StoreError
from rstore.domain.names import check_name
from rstore.history.changes import Change, StreamFilter, stream_filter
from rstore.history.follow import Pauses
from rstore.history.projector import Call, Calls, Due, Work, skipping, swap
from rstore.history.skipping import OnError, Skipped, check_on_error
from rstore.history.targets import StoreTarget, Target

T = TypeVar("T")
S = TypeVar("S", bound=Surface)
Rebuild: TypeAlias = bool | Callable[[T], Any]
"""Whether a projection begins again; or a function that deletes its output, and gets what its target hands out."""


class Options(NamedTuple):
    """How a projection runs: see :meth:`Store.project`."""

    wait: float | None
    rebuild: bool | Callable[[Any], Any]
    on_error: OnError
    history: bool = True


def run_projection(
    source: Surface, into: Target[Any] | None, name: str, streams: StreamFilter, calls: Calls, options: Options
) -> int:
    """Make the calls for all changes since the last time, and return their number.

    Args:
        into: the target; None for the store itself.
    """
    core, name = core_of(source), check_name("projection", name, empty=False)
    pauses, on_error = Pauses(options.wait), check_on_error(options.on_error)
    if into is None:
        core.check_writable()
        note = core.note.get()
        if note is not None and note.words.get(WRITER) == name:
            raise StoreError(f"projection {name!r} is at work: its function can't call project() for it again")
    target = StoreTarget.of_itself(source, streams) if into is None else into
    if not options.history:
        target = _without_history(target)
    if on_error != "raise":
        skipping(target)
    work = Work(core, target, name, streams, calls, on_error, own=into is None)
    if options.rebuild:
        begin = partial(work.begin_again, _clearing(target, name, options.rebuild))
        (core.decide if into is None else until_unmoved)(begin)
    return work.run(pauses)


def target_of(source: Surface, into: Target[Any] | Surface | None) -> Target[Any] | None:
    """Return the target that a user names: another store, say. None stands for the source itself."""
    if not isinstance(into, Surface):
        return into
    return None if core_of(into) is core_of(source) else StoreTarget(into)


def _without_history(target: Target[Any]) -> Target[Any]:
    """Return a target in which a projection leaves no earlier values of keys."""
    if isinstance(target, StoreTarget):
        return evolve(target, history=False)
    raise TypeError(f"{type(target).__name__} is no store: history=False is for read models in one")


def _clearing(
    target: Target[Any], name: str, rebuild: bool | Callable[[Any], Any]
) -> Callable[[], Callable[[Any], Any]]:
    """Return a function that looks for the output of a projection, and returns the one that deletes it."""
    if callable(rebuild):
        clear = rebuild
        return lambda: clear
    if isinstance(target, StoreTarget):
        return partial(target.clearing, name)
    raise TypeError(
        f"{type(target).__name__} does not know what projection {name!r} has written: give rebuild= a function that "
        "deletes it, or build it beside under another name, and swap()"
    )


def calls_of(core: Core, fn: Callable[[Change, Any], Any]) -> Calls:
    """Return the calls of a function with each change."""

    def calls(dues: Sequence[Due]) -> Iterator[Call]:
        for due in dues:
            change, error = due.change(core)
            yield Call(change, change, due.position, error, partial(fn, change))

    return calls


class Projector(Generic[T]):
    """Projects a store into another place: another store, or a database, that has the checkpoints too.

    Each change has its effect there once, whatever crashes, and in however many processes. The store itself may be
    frozen. Functions for decisions and domain events go there by ``into=`` of :meth:`Repository.projection`.

    >>> with Store('memory://', frozen=False) as other:
    ...     projector = Projector(store, other)
    ...     store['price'] = 10
    ...     projector.project('prices', lambda change, other: other.set(change.key, change.value)), other['price']
    (1, 10)
    """

    def __init__(self, source: Surface, target: Target[T] | Surface) -> None:
        """Take the store that is followed, and the place that is written to."""
        self._source, self._into = source, target_of(source, target)

    def project(
        self,
        name: str,
        fn: Callable[[Change, T], Any],
        *,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
        rebuild: Rebuild[T] = False,
        on_error: OnError = "raise",
        history: bool = True,
    ) -> int:
        """Keep a read model up to date; see :meth:`Store.project`.

        Args:
            fn: gets a change, and the store or whatever else the target hands out.
            rebuild: begin again. A function deletes the output, and gets what the target hands out. In another store,
                ``True`` deletes it.

        Raises:
            ValueError: the checkpoint in the target is one of another store, or of a copy.
            StoreError: another projection has taken its place: see :meth:`swap`.
        """
        options = Options(wait, rebuild, on_error, history)
        calls = calls_of(core_of(self._source), fn)
        return run_projection(self._source, self._into, name, stream_filter(kind, prefix), calls, options)

    def skipped(self, name: str) -> list[Skipped]:
        """Return the changes that a projection has skipped; see :meth:`Store.skipped`."""
        return skipping(self._target).skipped(check_name("projection", name, empty=False))

    def swap(self, old: str, new: str, fn: Callable[[T], Any]) -> None:
        """Let the output of one projection take the place of another's, which never goes on.

        Run the new projection beside the old one first, under a name of its own, until it has caught up. ``fn`` is
        called in a transaction with the end of the old one: it renames tables, say, or lets readers find the new keys.
        A process that still runs the old projection stops with an error.

        Raises:
            StoreError: the new projection is behind the old one.

        >>> def write(prefix):
        ...     return lambda change, store: store.set(prefix + change.key, change.value)
        >>> store['apple'] = 3
        >>> store.project('v1', write('v1/'), prefix='apple'), store.project('v2', write('v2/'), prefix='apple')
        (1, 1)
        >>> Projector(store, store).swap('v1', 'v2', lambda store: store.set('prices are in', 'v2/'))
        >>> store.project('v1', write('v1/'), prefix='apple')
        Traceback (most recent call last):
            ...
        rstore.domain.errors.StoreError: projection 'v2' has taken the place of 'v1'; run that, or rebuild this one
        """
        for name in (old, new):
            check_name("projection", name, empty=False)
        until_unmoved(partial(swap, core_of(self._source), self._target, old, new, fn))

    @property
    def _target(self) -> Target[Any]:
        return StoreTarget.of_itself(self._source, StreamFilter()) if self._into is None else self._into


class Projecting(Surface):
    """Keeps read models up to date."""

    def project(
        self,
        name: str,
        fn: Callable[[Change, Self], Any],
        *,
        kind: str | None = None,
        prefix: str | None = None,
        wait: float | None = None,
        rebuild: bool = False,
        on_error: OnError = "raise",
        history: bool = True,
    ) -> int:
        """Keep a read model up to date: call ``fn(change, store)`` for each change since the last time, exactly once.

        All writes of ``fn`` to this store are stored in one transaction with the checkpoint, for a batch of 100 changes
        at a time, and the rest of their last commit. Only a commit of more than 10,000 records or 16 MiB may be split.
        Changes of one key in one millisecond stay together as a commit does. After a crash, or in two processes at
        once, ``fn`` may be called again, but each change has its effect on the store once. If it raises, nothing of its
        batch is stored, and the next call begins with that batch again. ``fn`` is not fed with its own writes; other
        projections are. Erasures are fed to none: they change nothing that is read of the present.

        Args:
            name: that of the projection; its checkpoint is kept under it.
            kind, prefix, wait: as in :meth:`follow`.
            rebuild: delete the projection's output, and begin again with the first change. The keys, series and
                event sequences that only it has written to are deleted in one transaction with its checkpoint; their
                past stays. If earlier records of a key are gone from the log, only the writer of its newest one counts.
            on_error: the fate of a change that cannot be read, or at which ``fn`` raises. ``raise``: the projection
                stops there. ``skip``: the writes of ``fn`` for it are taken back, :meth:`skipped` lists it, and the
                projection goes on. A function gets the change and the error instead; the projection goes on when it
                returns. Its writes are part of the transaction, in which it may be called again, as ``fn`` is.
                Errors of the store itself, such as a conflict or a lost connection, are raised in any case.
            history: whether the earlier values of keys stay that ``fn`` overwrites or deletes. They take space, and
                :meth:`at` shows them. Series and event sequences keep theirs.

        Returns:
            The number of changes that were dealt with.

        Raises:
            StoreConflictError: other writers changed what ``fn`` had read, again and again.
            StoreError: a rebuild finds streams that other writers wrote to as well; nothing is changed.

        >>> def count(change, store):
        ...     store['changes of ' + change.key] = store.get('changes of ' + change.key, 0) + 1
        >>> store['price'] = 10
        >>> store['price'] = 11
        >>> store.project('counts', count), store['changes of price'], store.project('counts', count)
        (2, 2, 0)
        >>> store.project('counts', count, rebuild=True), store['changes of price']
        (2, 2)
        """
        options = Options(wait, rebuild, on_error, history)
        calls = calls_of(self._core, fn)
        return run_projection(self, None, name, stream_filter(kind, prefix), calls, options)

    def skipped(self, name: str) -> list[Skipped]:
        """Return the changes that a projection has skipped, in the order in which it did, since its last rebuild.

        >>> def fail(change, store):
        ...     raise LookupError
        >>> store['price'] = 10
        >>> store.project('failing', fail, on_error='skip')
        1
        >>> [(each.key, each.error) for each in store.skipped('failing')]
        [('price', 'LookupError')]
        """
        name = check_name("projection", name, empty=False)
        return StoreTarget(self).skipped(name)
