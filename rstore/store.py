"""The facade: from a DSN and a key to a store of key/value pairs, time series and event sequences."""

from __future__ import annotations

import base64
import os
import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from rstore.adapters.dsn import open_log
from rstore.admin.upkeep import Upkeep
from rstore.core import Note, Work
from rstore.domain.erasure import COMPACT
from rstore.domain.errors import StoreError, StoreNotAvailableError
from rstore.domain.log import Connector, Saved
from rstore.domain.names import check_name
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, KV, TS
from rstore.domain.transaction import unerasable
from rstore.encoding.envelope import Payload
from rstore.html import table
from rstore.protection import CheckedWriter
from rstore.state_cache import Projections
from rstore.timestamps import Moment, posix_ms

_KINDS: Final = {"keys": KV, "time series": TS, "event sequences": ES}


class Store(Upkeep):
    """A store of key/value pairs, time series and event sequences, with optional encryption.

    All three are kept in one append-only log: what was stored before stays there until it is pruned or compacted.

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
            history: whether ``set`` and ``delete`` keep what the key had before.
            plaintext: with a key, also read values that are not encrypted.
            other_key: write with a key that is none of those with which the namespace was written to so far.

        Raises:
            TypeError, ValueError: an argument is not of the form described above.
        """
        connect = dsn if callable(dsn) else open_log(dsn)
        named = next(name for name in (namespace, self._namespace, "default") if name is not None)
        self.namespace = check_name("namespace", named, empty=False)
        self._frozen, self._history = frozen, history
        self._connect = partial(connect, self.namespace)
        self._base = self._connect(frozen)
        custom = any(getattr(type(self), name) is not getattr(Store, name) for name in ("_dump", "_load"))
        self._payload = Payload(
            self.namespace,
            self._dump if custom else None,
            self._load if custom else None,
            _cipher(self._key if key is None else key),
            plaintext=plaintext,
        )
        self._writer = CheckedWriter(self._base, self._payload, self.namespace, other_key=other_key)
        self._cached = Projections()
        self._note: ContextVar[Note | None] = ContextVar("rstore.note", default=None)
        self._work: ContextVar[Work | None] = ContextVar("rstore.work", default=None)
        self._is_open = False
        self._entered = 0
        self._entering = threading.Lock()

    def _dump(self, value: Any) -> str | bytes:
        return pickle.dumps(value)

    def _load(self, data: Any) -> Any:
        return pickle.loads(data)  # noqa: S301  # the README says what that means, and what to use instead

    def __reduce__(self) -> str:
        raise TypeError("a Store can't be copied or pickled: make one from the same dsn where you need it")

    def __repr__(self) -> str:
        state = "frozen" if self._frozen else "writable"
        return f"<{type(self).__name__} {self._base.name} namespace={self.namespace!r} {state}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: where the store is, and how many keys it has."""
        try:
            kinds = [(name, f"{self._log.count(kind):,}") for name, kind in _KINDS.items()]
        except StoreError as exc:
            kinds = [("not available", str(exc))]
        rows = [("backend", self._base.name), ("namespace", self.namespace), *kinds]
        return table(f"{type(self).__name__}, {'frozen' if self._frozen else 'writable'}", ("", ""), rows, tuple)

    def open(self) -> Self:
        """Connect, and return the store; ``with`` does this.

        Raises:
            StoreNotAvailableError: the backend can't be reached, or the store is frozen and there is none.
        """
        self._cached.clear()
        self._writer.forget()
        self._base.open()
        self._is_open = True
        return self

    def close(self) -> None:
        """Let go of all connections. The store may be opened again."""
        self._is_open = False
        self._base.close()
        self._cached.clear()

    def _is_there(self) -> bool:
        """Tell whether the store is open, or can be without being made."""
        if self._is_open:
            return True
        log = self._connect(True)
        try:
            log.open()
        except StoreNotAvailableError:
            return False
        log.close()
        return True

    @contextmanager
    def _while_open(self) -> Iterator[None]:
        """Open the store for the length of a block, unless it is open already."""
        with nullcontext() if self._is_open else self:
            yield

    def __enter__(self) -> Self:
        with self._entering:
            if not self._entered:
                self.open()
            self._entered += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._entering:
            self._entered -= 1
            if not self._entered:
                self.close()

    def compact(self, before: Moment | None = None, *, dry_run: bool = False) -> Saved:
        """Erase what no read of the present needs, give the space back, and return what was saved.

        :meth:`log` shows the erasure as changes: which records went, and the context of the call. The values that went
        are not shown.

        That is a number of records, and the bytes of their payloads. Of a key the last value is kept, of a series what
        can be seen, of an event sequence what :meth:`prune` keeps: one that was deleted, or whose state is empty, goes.

        Args:
            before: erase only what was stored up to this time, and keep what :meth:`at` shows from then on.
            dry_run: erase nothing, and return what would be saved; a frozen store can do it too.
        """
        eraser = self._eraser(COMPACT, dry_run=dry_run)
        limit = None if before is None else posix_ms(before)
        series = (head.stream for head in self._log.heads(TS, live=False))
        sequences = (head.stream for head in self._log.heads(ES, live=False))
        saved = self._compact_keys(eraser, limit)
        saved = saved.plus(self._compact_series(eraser, series, limit))
        saved = saved.plus(self._prune(eraser, sequences, TIME_MAX if limit is None else limit))
        if not dry_run:
            self._base.vacuum()
        return saved

    def discard(self) -> None:
        """Erase the namespace with all that is in it. A SQLite file with nothing else in it is deleted.

        What :meth:`log` tells of earlier erasures goes too: nothing is left to keep it in.
        """
        self._check_writable()
        log = self._outside(unerasable())
        self._projections.clear()
        log.discard()
        self._writer.forget()


def new_key() -> str:
    """Return a new random key for ``Store(..., key=...)``. Keep it: without it, nobody can read what it encrypted."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _cipher(key: str | bytes | Sequence[str | bytes] | None) -> Any:
    if key is None:
        return None
    from rstore.encoding.cipher import Cipher

    return Cipher(key)
