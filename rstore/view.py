"""A store as it was known at a time."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from rstore.core import Past, core_of
from rstore.domain.streams import TS, Stream
from rstore.history.reader import HistoryReader
from rstore.models.event_sequences import EventSequenceReader
from rstore.models.keyvalues import KeyValueReader
from rstore.models.many_series import ManySeriesReader
from rstore.models.segments import extent_of
from rstore.sql import SqlReader
from rstore.tags import TagReader, moment_of
from rstore.timestamps import Moment

_REFUSED: Final = frozenset(
    (
        *("set", "set_many", "delete", "pop", "popitem", "setdefault", "update", "clear", "update_with"),
        *("extend", "extend_many", "remove", "apply", "delete_events", "revert", "tag", "untag"),
        *("context", "transaction", "transact", "project", "deliver", "retry", "skip"),
        *("prune", "compact", "rekey", "protect", "unprotect", "retain", "discard"),
    )
)
"""The writing calls of a store, which a view refuses."""


class View(KeyValueReader, ManySeriesReader, EventSequenceReader, HistoryReader, SqlReader, TagReader):
    """A store as it was known at a time: everything can be read, and nothing written.

    ``moment`` is that time, in POSIX milliseconds.

    >>> store.at('2026-05-01T09:00Z').moment
    1777626000000
    """

    _core: Past

    def __init__(self, core: Past, moment: int) -> None:
        self._core, self.moment, self.namespace = core, moment, core.namespace

    def at(self, moment: Moment) -> View:
        """Return the store as it was known at an earlier time; see :meth:`Store.at`."""
        time = moment_of(self._core, moment)
        return View(self._core.at(time), time)

    def timeseries(self, prefix: str = "") -> list[str]:
        """Return the keys of all series, or of those that begin with a prefix, in code-point order."""
        return [key for key in super().timeseries(prefix) if extent_of(self._core, Stream(TS, key)) is not None]

    def __repr__(self) -> str:
        return f"<View {self._core.name} namespace={self.namespace!r} at {self.moment}>"

    def __getattr__(self, name: str) -> Any:
        if name in _REFUSED:
            return self._refuse
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        core_of(self)
        raise AssertionError("unreachable")

    __setitem__ = __delitem__ = __ior__ = _refuse
