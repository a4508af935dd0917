"""Values to envelopes and back: dump, compress and seal; then verify, decompress and load.

The steps are modules of their own: :mod:`~rstore.encoding.bodies` has the bytes of values and columns and their flags,
:mod:`~rstore.encoding.sealing` the envelope around them, :mod:`~rstore.encoding.notes` who and why.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from rstore.domain.errors import StoreError, StoreFormatError, StorePayloadError
from rstore.domain.log import Record
from rstore.domain.series import Run
from rstore.domain.streams import Stream
from rstore.encoding.bodies import (
    COLUMNS,
    COMPRESSED,
    DUMPED,
    SIZE_OF_COUNTS,
    SUMMED,
    TEXT,
    TYPED,
    Body,
    as_bytes,
    compressed,
    compressed_typed,
    pack_columns,
    pack_dumped,
    unpack_columns,
    unpack_dumped,
)
from rstore.encoding.checksums import DamageError, Opened, before
from rstore.encoding.columns import OBJECT, Layout, Table, UnknownColumnError, decode, encode
from rstore.encoding.notes import words_of
from rstore.encoding.packing import pack_texts, pack_times, unpack_texts, unpack_times
from rstore.encoding.sealing import Sealer, flags_of
from rstore.encoding.summaries import (
    SUMMED_FROM,
    Aggregates,
    Summary,
    aggregates_of,
    pack_summary,
    times_between,
    unpack_summary,
)
from rstore.encoding.unreadable import why_unloadable

if TYPE_CHECKING:
    from rstore.encoding.cipher import Cipher

ATOMS: Final = frozenset({int, float, complex, bool, str, bytes, type(None)})
"""Types whose values nobody can change, so that they may be shared."""

_PROTOCOL: Final = 5

PackTimes: TypeAlias = Callable[[Any], bytes]
UnpackTimes: TypeAlias = Callable[[int, int, bytes], Any]
LoadValues: TypeAlias = Callable[[int, bytes], list[Any]]


class Envelope:
    """Puts the values of one namespace into envelopes, and reads them from there.

    ``dump`` and ``load`` are the user's own, or None for pickle. With a cipher everything is encrypted and, unless
    ``plaintext``, only encrypted envelopes are read. The ``sealer`` does that, for callers that load no value.
    """

    def __init__(
        self,
        namespace: str,
        dump: Callable[[Any], str | bytes] | None = None,
        load: Callable[[Any], Any] | None = None,
        cipher: Cipher | None = None,
        *,
        plaintext: bool = False,
    ) -> None:
        self._namespace, self._dump, self._load = namespace, dump, load
        self.sealer = Sealer(namespace, cipher, plaintext=plaintext)
        self.entry, self.check = self.sealer.entry, self.sealer.check  # not methods: a call less for each write

    @property
    def has_dump(self) -> bool:
        """Whether values are dumped by the user's own function, which gets each value that has no other type."""
        return self._dump is not None

    # -- values to bodies ---------------------------------------------------------------------------------------------

    def dump(self, key: str, value: Any) -> Body:
        """Return the body of one value. A dumper's error is passed on with a note that names the key."""
        try:
            if self._dump is None:
                return compressed(0, pickle.dumps(value, _PROTOCOL))
            text, data = as_bytes(self._dump(value))
            return compressed(DUMPED | text * TEXT, data)
        except Exception as exc:
            exc.add_note(f"rstore: while dumping a value for {key!r}; nothing was stored")
            raise

    def dump_run(
        self, key: str, run: Run, pack: PackTimes = pack_times, aggregates: Aggregates = aggregates_of
    ) -> Body:
        """Return the body of a run of points. A single point without a type is stored as a plain value.

        ``pack`` makes the same bytes as :func:`rstore.encoding.packing.pack_times` of the times of a table, whichever
        sequence holds them. ``aggregates`` finds those of its columns.
        """
        times, values = run
        if isinstance(values, Table):
            index = pack(times)
            is_long = len(values) >= SUMMED_FROM
            return self._dump_typed(
                key, index, values, pack_summary(times, values, index, aggregates) if is_long else b""
            )
        if len(times) == 1:
            return self.dump(key, values[0])
        return self._dump_columns(key, pack_times(times), values)

    def dump_state(self, key: str, state: Mapping[str, Any]) -> Body | None:
        """Return the body of a snapshot, or None if the state would not come back from it as it is."""
        values = list(state.values())
        try:
            if self._dump and self._load and [self._load(self._dump(value)) for value in values] != values:
                return None
            return self._dump_columns(key, pack_texts(state), values)
        except Exception:  # a state that can't be dumped is no error: there are the events that it is folded from
            return None

    def echo(self, stream: Stream, body: Body, value: Any) -> Any:
        """Return a value as it will be read back from ``body``: never the caller's own object, if that can change."""
        if self._dump is None and type(value) in ATOMS:
            return value
        data = zlib.decompress(body.data) if body.flags & COMPRESSED else body.data
        return self._load_value(stream, body.flags, data)

    def as_read(self, stream: Stream, value: Any) -> Any:
        """Return a value as a store with its own ``_dump`` reads it back. One that can't be read equals no other."""
        body = self.dump(stream.key, value)
        try:
            return self.echo(stream, body, value)
        except StorePayloadError:
            return object()

    def _dump_columns(self, key: str, index: bytes, values: Sequence[Any]) -> Body:
        flags = COLUMNS if self._dump is None else COLUMNS | DUMPED
        return compressed(flags, pack_columns(len(values), index, self._dump_values(key, values)))

    def _dump_typed(self, key: str, index: bytes, table: Table, summary: bytes) -> Body:
        """Return the body of typed columns. A ``_dump`` is for values: it gets those of no other type."""
        data = encode(table, partial(self._dump_values, key))
        has_objects = any(column.kind == OBJECT for column in table.layout.columns)
        flags = COLUMNS | TYPED | (DUMPED if has_objects and self._dump is not None else 0) | (SUMMED if summary else 0)
        front = before(summary) if summary else b""
        return compressed_typed(flags, pack_columns(len(table), index, data, front), len(front))

    def _dump_values(self, key: str, values: Sequence[Any]) -> bytes:
        try:
            if self._dump is None:
                return pickle.dumps(list(values), _PROTOCOL)
            return pack_dumped(map(self._dump, values))
        except Exception as exc:
            exc.add_note(f"rstore: while dumping values for {key!r}; nothing was stored")
            raise

    # -- records to values --------------------------------------------------------------------------------------------

    def check_op(self, stream: Stream, record: Record, known: Collection[str]) -> str:
        """Return the record's operator.

        Raises:
            StoreFormatError: its kind of stream has no such operator; a newer version wrote it, or another program.
        """
        if record.op not in known:
            raise StoreFormatError(
                self._namespace, *stream, f"operator {record.op!r}: a newer rstore wrote it, or another program"
            )
        return record.op

    def value(self, stream: Stream, record: Record) -> Any:
        """Return the value of a record, None if it has none."""
        flags, data = self.sealer.open(stream, record)
        if flags & COLUMNS:
            raise self.error(stream, "columns where one value should be")
        return self._load_value(stream, flags, data)

    def run(
        self,
        stream: Stream,
        record: Record,
        unpack: UnpackTimes = unpack_times,
        span: tuple[int, int] | None = None,
        columns: Collection[str] | None = None,
    ) -> Run:
        """Return the points of a series' record. Values in typed columns are a :class:`rstore.encoding.columns.Table`.

        ``unpack`` reads times as :func:`rstore.encoding.packing.unpack_times` does. Points that are not in the ``span``
        may be left out, and need not be verified then. So may other columns than those that are named; one is there
        at least.
        """
        whole = span is None or (span[0] <= record.start and span[1] >= record.end)
        if not (whole and columns is None) and _has_parts(record.data):
            return self._part(stream, record, unpack, None if whole else span, columns)
        flags, data = self.sealer.open(stream, record)
        if not flags & COLUMNS:
            return (record.start,), (self._load_value(stream, flags, data),)
        index, values = self._load_columns(stream, flags, data, columns=columns)
        return self._timed(stream, record, index, values, unpack), values

    def bare_run(self, stream: Stream, record: Record) -> Run:
        """Return the same points as :meth:`run`, with None in place of each value that would have to be loaded."""
        flags, data = self.sealer.open(stream, record)
        if not flags & COLUMNS:
            return (record.start,), (None,)
        index, values = self._load_columns(stream, flags, data, load=lambda count, _: [None] * count)
        return self._timed(stream, record, index, values, unpack_times), values

    def is_typed(self, record: Record) -> bool:
        """Tell whether the values of a series' record are in typed columns, as its flags say."""
        return bool(flags_of(record.data) & TYPED)

    def summary(self, stream: Stream, record: Record, *, is_cut: bool = False) -> Summary | None:
        """Return the summary of a long segment of typed columns, None of another record. No row is read.

        Of a record whose data are cut somewhere it is None too, if the summary is not all there.
        """
        opened = self.sealer.opened_lazily(stream, record, is_cut=is_cut) if flags_of(record.data) & SUMMED else None
        return None if opened is None else self._summary(stream, opened)

    def _part(
        self,
        stream: Stream,
        record: Record,
        unpack: UnpackTimes,
        span: tuple[int, int] | None,
        columns: Collection[str] | None,
    ) -> Run:
        """Return some points or columns of a long segment: nothing else is unpacked, or verified."""
        opened = cast("Opened", self.sealer.opened_lazily(stream, record))
        summary = self._summary(stream, opened)

        def check_from(start: int) -> Callable[[int, int], None]:
            return lambda low, high: opened.check(start + low, start + high)

        with self._explained(stream):
            opened.check(0, SIZE_OF_COUNTS)
            count, index, values = unpack_columns(opened.rest)
            check = check_from(SIZE_OF_COUNTS)
            if span is None:
                check(0, len(index))
                first, times = 0, unpack(record.start, count, bytes(index))
            else:
                first, times = times_between(index, record.start, summary, span, check)
            load = partial(self._load_values, stream, flags_of(record.data))
            rows = slice(first, first + len(times))
            table = decode(values, count, load, rows, check_from(SIZE_OF_COUNTS + len(index)), columns)
        if count != summary.rows or (rows.stop == count and len(times) and times[-1] != record.end):
            raise self.error(stream, "its times don't fit its span")
        return times, table

    def _summary(self, stream: Stream, opened: Opened) -> Summary:
        try:
            return unpack_summary(bytes(opened.summary))
        except ValueError as exc:
            raise self.error(stream, "its summary can't be read") from exc

    def layout(self, stream: Stream, record: Record) -> Layout | None:
        """Return the layout of a series' record; None if its values are not in typed columns."""
        if not self.is_typed(record):
            return None  # no other damage of the envelope matters here
        summary = self.summary(stream, record)
        if summary is not None:
            return summary.layout
        values = self.bare_run(stream, record)[1]
        return values.layout if isinstance(values, Table) else None

    def state(self, stream: Stream, record: Record) -> dict[str, Any]:
        """Return the state of a snapshot."""
        flags, data = self.sealer.open(stream, record)
        index, values = self._load_columns(stream, flags, data)
        try:
            return dict(zip(unpack_texts(len(values), index), values, strict=True))
        except (ValueError, IndexError) as exc:
            raise self.error(stream, "its items can't be read") from exc

    def note(self, stream: Stream, record: Record) -> dict[str, Any]:
        """Return the words of the note beside a record's value: who, why and more."""
        data = self.sealer.open_note(stream, record)
        return {} if data is None else self._words(stream, data, "who and why")

    def words(self, stream: Stream, record: Record) -> dict[str, Any]:
        """Return the words in a record that has no value of a user: nothing of it is unpickled or loaded."""
        return self._words(stream, self.sealer.open(stream, record)[1], "its words")

    def _words(self, stream: Stream, data: bytes, what: str) -> dict[str, Any]:
        try:
            return words_of(bytes(data))
        except ValueError as exc:
            raise self.error(stream, f"{what} can't be read") from exc

    def _timed(
        self, stream: Stream, record: Record, index: bytes, values: Sequence[Any], unpack: UnpackTimes
    ) -> Sequence[int]:
        """Return the times of a segment, one for each of its values."""
        try:
            times: Sequence[int] = unpack(record.start, len(values), index)
        except (struct.error, ValueError, IndexError) as exc:
            raise self.error(stream, "its times can't be read") from exc
        if not len(values) or len(times) != len(values) or times[-1] != record.end:
            raise self.error(stream, "its times don't fit its span")
        return times

    # -- load ---------------------------------------------------------------------------------------------------------

    def _load_value(self, stream: Stream, flags: int, data: bytes) -> Any:
        if not flags & DUMPED and not data:
            return None
        load = self._loader(stream, flags)
        try:
            return load(data.decode("utf-8", "surrogatepass") if flags & TEXT else data)
        except StoreError:  # of a store that the user's value reads, such as a lost connection: not of this payload
            raise
        except Exception as exc:
            raise self._unloadable(StorePayloadError, stream, why_unloadable(exc)) from exc

    def _load_columns(
        self,
        stream: Stream,
        flags: int,
        data: bytes,
        load: LoadValues | None = None,
        columns: Collection[str] | None = None,
    ) -> tuple[bytes, Sequence[Any]]:
        """Return the bytes of the times or items, and the values, as ``load`` makes them of their number and bytes."""
        load = load or partial(self._load_values, stream, flags)
        with self._explained(stream):
            count, index, values = unpack_columns(data)
            return index, decode(values, count, load, names=columns) if flags & TYPED else load(count, values)

    @contextmanager
    def _explained(self, stream: Stream) -> Iterator[None]:
        """Raise the errors of columns that can't be read as those of a store."""
        try:
            yield
        except StoreError:  # told already, or of a store that a user's value reads
            raise
        except DamageError as exc:
            raise self.error(stream, "the checksum does not match: it was damaged") from exc
        except UnknownColumnError as exc:
            raise StoreFormatError(self._namespace, *stream, f"{exc}: a newer rstore wrote it") from exc
        except Exception as exc:
            raise self._unloadable(StorePayloadError, stream, why_unloadable(exc)) from exc

    def _load_values(self, stream: Stream, flags: int, count: int, data: bytes) -> list[Any]:
        load = self._loader(stream, flags)
        loaded: list[Any] = [load(value) for value in unpack_dumped(count, data)] if flags & DUMPED else load(data)
        if len(loaded) != count:
            raise ValueError("the columns are of different lengths")
        return loaded

    def _loader(self, stream: Stream, flags: int) -> Callable[[Any], Any]:
        if not flags & DUMPED:
            if self._load is None:
                return pickle.loads
            detail = "a Store without a _load pickled it; this Store has one, and never unpickles"
            raise self._unloadable(StoreFormatError, stream, detail)
        if self._load is None:
            detail = "a Store with its own _dump wrote it: open it with that"
            raise self._unloadable(StoreFormatError, stream, detail)
        return self._load

    def _unloadable(self, error: type[StorePayloadError], stream: Stream, detail: str) -> StorePayloadError:
        """Return the error of a payload that is genuine, since it was opened, and that cannot be loaded."""
        found = error(self._namespace, *stream, detail)
        found.is_genuine = True
        return found

    def error(self, stream: Stream, detail: str) -> StorePayloadError:
        """Return the error of a payload that can't be read."""
        return StorePayloadError(self._namespace, *stream, detail)


def _has_parts(data: bytes) -> bool:
    """Tell whether some rows can be read without the others."""
    return flags_of(data) & (SUMMED | COMPRESSED) == SUMMED
