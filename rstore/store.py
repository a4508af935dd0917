"""The facade: from a DSN and a key to a store of key/value pairs, time series and event sequences."""

from __future__ import annotations

import base64
import datetime
import os
import pickle
from collections.abc import MutableMapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from rstore.adapters.dsn import open_log
from rstore.admin.backup import Backups
from rstore.admin.compact import Compaction
from rstore.admin.policy import Policy
from rstore.admin.rekey import Rekeying
from rstore.admin.retention import Retaining
from rstore.core import Core
from rstore.domain.errors import StoreError
from rstore.domain.log import Connector
from rstore.domain.names import check_name
from rstore.domain.observer import Observer
from rstore.domain.streams import ES, TS
from rstore.encoding.envelope import Envelope
from rstore.history.deliveries import Delivering
from rstore.history.follow import Follower
from rstore.history.lag import Lagging
from rstore.history.projections import Projecting
from rstore.history.reader import HistoryReader
from rstore.history.revert import Revision
from rstore.html import table
from rstore.models.event_sequences import EventSequenceReader, EventSequenceWriter
from rstore.models.keyvalues import KeyValueReader, KeyValueWriter
from rstore.models.many_series import ManySeriesReader, ManySeriesWriter
from rstore.models.timeseries import TimeSeriesWriter
from rstore.observing.observed import observed
from rstore.observing.reporter import Reporter
from rstore.sql import SqlReader
from rstore.tags import Tagging, moment_of
from rstore.timestamps import Moment
from rstore.transactions import Scopes
from rstore.view import View

_KINDS: Final = ("keys", "time series", "event sequences")


class Store(
    KeyValueReader,
    KeyValueWriter,
    ManySeriesReader,
    TimeSeriesWriter,
    ManySeriesWriter,
    EventSequenceReader,
    EventSequenceWriter,
    HistoryReader,
    SqlReader,
    Revision,
    Follower,
    Projecting,
    Lagging,
    Delivering,
    Scopes,
    Compaction,
    Retaining,
    Rekeying,
    Policy,
    Tagging,
    Backups,
    MutableMapping[str, Any],
):
    """A store of key/value pairs, time series and event sequences, with optional encryption.

    All three are kept in one append-only log: earlier values stay there until they are pruned or compacted.

    >>> with Store('memory://', frozen=False) as store:
    ...     store['greeting'] = 'hello'
    ...     store.extend('temperature', (1, 20.5), (2, 21.0))
    ...     _ = store.apply('account', {'balance': 10})
    ...     store['greeting'], store.last('temperature'), store.current('account')
    ('hello', (2, 21.0), {'balance': 10})

    Subclasses may fix the namespace, the key and the frequency, and replace pickle by overriding ``_dump`` and
    ``_load``.
    """

    _namespace: ClassVar[str | None] = None
    """The namespace, if none is given."""
    _key: ClassVar[str | bytes | Sequence[str | bytes] | None] = None
    """The key, if none is given."""
    _freq: int | datetime.timedelta | None = None
    """The frequency of series, if none is given."""
    _core: Core
    """The state of a store. A subclass may call its own helpers anything but this."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_core" in vars(cls):
            raise TypeError(f"{cls.__name__}._core hides the state of a Store: give it another name")

    def __init__(
        self,
        dsn: str | os.PathLike[str] | Connector,
        namespace: str | None = None,
        key: str | bytes | Sequence[str | bytes] | None = None,
        frozen: bool = True,
        *,
        history: bool = True,
        plaintext: bool = False,
        other_key: bool = False,
        observer: Observer | Sequence[Observer] | None = None,
    ) -> None:
        """Describe a store. Nothing is connected to or created before :meth:`open`, which ``with`` calls.

        Args:
            dsn: a SQLite file name, ``sqlite://relative.db``, ``sqlite:///absolute.db``, ``postgresql://...``,
                ``redis://...``, ``redis+cluster://...`` or ``memory://``, with options ``?durability=full|normal``
                (survive loss of power, or only of the process) and ``?timeout=SECONDS``.
            namespace: a store of its own within the backend (default: ``Store._namespace``, else ``'default'``).
            key: encrypts all values: 32 bytes in URL-safe base64, or several of these, of which the first encrypts
                and all decrypt (default: ``Store._key``).
            frozen: open for reading only, and create nothing.
            history: whether ``set`` and ``delete`` keep the earlier values of a key.
            plaintext: with a key, also read values that are not encrypted.
            other_key: write with a key that is none of those with which the namespace was written to so far.
            observer: is told what the store does, for metrics and traces: an :class:`Observer`, or several.

        Raises:
            TypeError, ValueError: an argument is not of the form described above.
        """
        connect = dsn if callable(dsn) else open_log(dsn)
        reporter = None if observer is None else Reporter(observer)
        if reporter is not None:
            connect = observed(connect, reporter)
        named = next(name for name in (namespace, self._namespace, "default") if name is not None)
        self.namespace = check_name("namespace", named, empty=False)
        custom = any(getattr(type(self), name) is not getattr(Store, name) for name in ("_dump", "_load"))
        envelope = Envelope(
            self.namespace,
            self._dump if custom else None,
            self._load if custom else None,
            _cipher(self._key if key is None else key),
            plaintext=plaintext,
        )
        self._core = Core.of(
            type(self).__name__,
            partial(connect, self.namespace),
            envelope,
            self.namespace,
            frozen=frozen,
            history=history,
            freq=self._freq,
            other_key=other_key,
            reporter=reporter,
        )

    def _dump(self, value: Any) -> str | bytes:
        return pickle.dumps(value)

    def _load(self, data: Any) -> Any:
        return pickle.loads(data)  # noqa: S301  # the README says what that means, and what to use instead

    def __reduce__(self) -> str:
        raise TypeError("a Store can't be copied or pickled: make one from the same dsn where you need it")

    def __repr__(self) -> str:
        return self._core.title

    def _repr_html_(self) -> str:
        """Return a table for notebooks: where the store is, and how many keys it has."""
        core = self._core
        try:
            numbers = [len(self), *core.log.counts((TS, ES))]
            kinds = [(name, f"{number:,}") for name, number in zip(_KINDS, numbers, strict=True)]
        except StoreError as exc:
            kinds = [("not available", str(exc))]
        rows = [("backend", core.base.name), ("namespace", self.namespace), *kinds]
        return table(f"{type(self).__name__}, {'frozen' if core.frozen else 'writable'}", ("", ""), rows, tuple)

    def open(self) -> Self:
        """Connect, and return the store; ``with`` does this.

        Raises:
            StoreNotAvailableError: the backend can't be reached, or the store is frozen and there is none.
        """
        self._core.session.open()
        return self

    def close(self) -> None:
        """Let go of all connections. The store may be opened again."""
        self._core.session.close()

    def __enter__(self) -> Self:
        self._core.session.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._core.session.leave()

    def at(self, moment: Moment) -> View:
        """Return a frozen view of the namespace as it was known at a time.

        All reads of keys, series and event sequences work in it; nothing is copied. ``at(T).past(key, t)`` is what was
        believed at ``T`` about ``t``. What was pruned, compacted or overwritten without history is missing in it. A
        time that is not over yet may still get more.

        Args:
            moment: POSIX milliseconds; a datetime of Python or pandas, or an ISO 8601 string, with an offset from UTC;
                or a ``datetime64`` of NumPy, which is in UTC; or the name that :meth:`tag` gave it.

        Raises:
            ValueError: a time without an offset; or neither a time nor a tag.

        >>> store['price'] = 10
        >>> then = store.history('price')[-1].recorded
        >>> store.at(then)['price'], store.at(then - 1).get('price')
        (10, None)
        """
        time = moment_of(self._core, moment)
        return View(self._core.at(time), time)

    def discard(self) -> None:
        """Erase the namespace with all that is in it. A SQLite file with nothing else in it is deleted.

        What :meth:`log` tells of earlier erasures goes too: nothing is left to keep it in.
        """
        core = self._core
        core.check_writable()
        core.check_outside()
        core.cache.clear()
        core.indexes.clear()
        core.base.discard()
        core.writer.forget()


def new_key() -> str:
    """Return a new random key for ``Store(..., key=...)``. Keep it: data encrypted with it needs it to be read."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _cipher(key: str | bytes | Sequence[str | bytes] | None) -> Any:
    if key is None:
        return None
    from rstore.encoding.cipher import Cipher

    return Cipher(key)
