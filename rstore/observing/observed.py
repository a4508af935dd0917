"""A log that tells a reporter of each call.

It stands around an adapter where a store has an observer, and nowhere else: without one, nothing is added to any call.
It hands on the methods that it does not observe. So it has the optional capabilities of the adapter, and no others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from attrs import define

from rstore.domain.log import Adapter, Batch, Connector, Entry, Reclaimed, Record, Replay
from rstore.domain.observer import LogCall
from rstore.domain.streams import Stream
from rstore.observing.reporter import Reporter

_SYSTEMS: Final[Mapping[str, str]] = {"postgres": "postgresql", "rediss": "redis", "unix": "redis", "valkeys": "valkey"}


@define
class _Tally:
    """The counts of a call."""

    kind: str = ""
    streams: int = 0
    records: int = 0
    bytes: int = 0

    def name(self, streams: Sequence[Stream]) -> None:
        """Count the streams that a call is about."""
        self.streams += len(streams)
        self.kind = self.kind or (streams[0].kind if streams else "")

    def add(self, records: Iterable[Record | Entry | None]) -> None:
        """Count what was read, or is written."""
        for each in records:
            if each is not None:
                self.records += 1
                self.bytes += len(each.data) + len(each.meta or b"")


Method: TypeAlias = Callable[..., Any]


@define
class _Tallied:
    """The entries of a batch, which count when the log iterates over them."""

    entries: Iterable[Entry]
    tally: _Tally

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries:
            self.tally.add((entry,))
            yield entry


@define
class _Pages:
    """The pages of an append, which count when the log iterates over them. It begins anew if it has to."""

    pages: Iterable[Sequence[Batch]]
    tally: _Tally

    def __iter__(self) -> Iterator[Sequence[Batch]]:
        self.tally.streams = self.tally.records = self.tally.bytes = 0
        for page in self.pages:
            yield _batches(self.tally, page)


# -- counting ---------------------------------------------------------------------------------------------------------


def _batches(tally: _Tally, batches: Sequence[Batch]) -> Sequence[Batch]:
    """Count the entries of batches now, where they are there; the others count while the log takes them."""
    tally.name([batch.stream for batch in batches])
    counted = []
    for batch in batches:
        if isinstance(batch.entries, list | tuple):
            tally.add(batch.entries)
            counted.append(batch)
        else:
            counted.append(batch._replace(entries=_Tallied(batch.entries, tally)))
    return counted


def _streams(tally: _Tally, streams: Sequence[Stream]) -> Sequence[Stream]:
    tally.name(streams)
    return streams


def _of_streams(tally: _Tally, asked: Sequence[Any]) -> Sequence[Any]:
    tally.name([each.stream for each in asked])
    return asked


def _stream(tally: _Tally, stream: Stream) -> Stream:
    tally.name((stream,))
    return stream


def _kind(tally: _Tally, kind: str) -> str:
    tally.kind = kind
    return kind


def _kinds(tally: _Tally, kinds: Sequence[str]) -> Sequence[str]:
    tally.kind = kinds[0] if len(kinds) == 1 else ""
    return kinds


def _anything(_: _Tally, argument: Any) -> Any:
    return argument


def _taken(tally: _Tally, reclaimed: Reclaimed) -> None:
    tally.records, tally.bytes = reclaimed


def _replays(tally: _Tally, replays: Sequence[Replay | None]) -> None:
    for each in replays:
        if each is not None:
            tally.add((each.snapshot, *each.records))


def _listed(tally: _Tally, _: object) -> None:
    tally.streams += 1


Tell: TypeAlias = Callable[[_Tally, int, BaseException | None, bool], None]
"""Tells the counts of a call, its nanoseconds, its error, and whether the caller left its iterator before the end."""


class _Call(NamedTuple):
    """How a method is observed.

    Attributes:
        operation: its name in a :class:`LogCall`.
        count_argument: counts the first argument, and returns the one that the log gets.
        count_answer: counts the answer, or each item of an iterator.
    """

    operation: str
    count_argument: Callable[[_Tally, Any], Any]
    count_answer: Callable[[_Tally, Any], None]
    is_lazy: bool = False


_CALLS: Final[Mapping[str, _Call]] = {
    "open": _Call("open", _anything, _anything),
    "append": _Call("append", _batches, _anything),
    "append_pages": _Call("append", lambda tally, pages: _Pages(pages, tally), _anything),
    "rewrite": _Call("rewrite", _of_streams, _taken),
    "replay": _Call("replay", _of_streams, _replays),
    "last": _Call("last", _streams, _Tally.add),
    "head": _Call("head", _stream, _anything),
    "counts": _Call("count", _kinds, _anything),
    "read": _Call("read", _stream, lambda tally, record: tally.add((record,)), is_lazy=True),
    "heads": _Call("heads", _kind, _listed, is_lazy=True),
    "follow": _Call("follow", _anything, lambda tally, found: tally.add(found[2:]), is_lazy=True),
}
"""The methods that are observed."""

_HANDED_ON: Final = (
    *("close", "namespaces", "discard", "vacuum", "wait", "checkpoint", "position"),
    *("restore", "backup", "instead_of_backup"),
)
"""The methods that are not observed."""


# -- the log ----------------------------------------------------------------------------------------------------------


class Observed:
    """A log that tells of its calls. It has the methods of another one, as attributes of the instance."""

    def __init__(self, log: Adapter, namespace: str, reporter: Reporter) -> None:
        self._log = log
        system = _system_of(log)
        for name, call in _CALLS.items():
            if hasattr(log, name):
                wrapped = _lazy if call.is_lazy else _prompt
                setattr(self, name, wrapped(getattr(log, name), call, _teller(call, system, namespace, reporter)))
        for name in _HANDED_ON:
            if hasattr(log, name):
                setattr(self, name, getattr(log, name))

    @property
    def name(self) -> str:
        """The backend's address as it may be shown."""
        return self._log.name


def observed(connect: Connector, reporter: Reporter) -> Connector:
    """Return a function that makes logs which tell of their calls."""

    def connected(namespace: str, frozen: bool) -> Adapter:
        return cast("Adapter", Observed(connect(namespace, frozen), namespace, reporter))

    return connected


def _system_of(log: Adapter) -> str:
    """Return the name of a backend, without its address."""
    scheme, mark, _ = log.name.partition("://")
    scheme = scheme.partition("+")[0]
    return _SYSTEMS.get(scheme, scheme) if mark else type(log).__name__


def _teller(call: _Call, system: str, namespace: str, reporter: Reporter) -> Tell:
    def tell(tally: _Tally, nanoseconds: int, error: BaseException | None, is_left: bool) -> None:
        # behind the slash of a private kind is a digest, and each has its own
        kind, name = tally.kind.partition("/")[0], None if error is None else type(error).__name__
        counts = (tally.streams, 0, 0) if error is not None else (tally.streams, tally.records, tally.bytes)
        tell_of = reporter.called_late if is_left else reporter.called
        tell_of(LogCall(call.operation, system, namespace, kind, *counts, nanoseconds / 1e9, name))

    return tell


def _prompt(method: Method, call: _Call, tell: Tell) -> Method:
    """Return a method that tells of each of its calls."""

    def called(*args: Any, **options: Any) -> Any:
        tally = _Tally()
        if args:
            args = (call.count_argument(tally, args[0]), *args[1:])
        began = time.perf_counter_ns()
        try:
            answer = method(*args, **options)
        except BaseException as exc:
            tell(tally, time.perf_counter_ns() - began, exc, False)
            raise
        spent = time.perf_counter_ns() - began
        call.count_answer(tally, answer)
        tell(tally, spent, None, False)
        return answer

    return called


def _lazy(method: Method, call: _Call, tell: Tell) -> Method:
    """Return a method that tells of each of its iterators, when that has ended."""

    def called(*args: Any, **options: Any) -> Iterator[Any]:
        tally = _Tally()
        if args:
            call.count_argument(tally, args[0])
        return _items(iter(method(*args, **options)), tally, call, tell)

    return called


def _items(items: Iterator[Any], tally: _Tally, call: _Call, tell: Tell) -> Iterator[Any]:
    """Yield all items, and tell how long they took, without the time of the code that takes them."""
    spent, error, is_left = 0, None, False
    try:
        while True:
            began = time.perf_counter_ns()
            try:
                item = next(items, _END)
            finally:
                spent += time.perf_counter_ns() - began
            if item is _END:
                return
            call.count_answer(tally, item)
            yield item
    except GeneratorExit:  # the caller needs no more
        is_left = True
        getattr(items, "close", lambda: None)()  # now, as without an observer, and not when it is collected
        raise
    except BaseException as exc:
        error = exc
        raise
    finally:
        tell(tally, spent, error, is_left)


_END: Final = object()
