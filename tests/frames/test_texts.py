"""Texts in columns: what comes out is what was given, whichever way they are kept, and whoever reads them."""

from __future__ import annotations

import enum
import struct
import subprocess
import sys
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstore import JsonStore, Store, StoreFormatError, StorePayloadError
from rstore.domain.log import Rewrite
from rstore.domain.streams import TS, Stream
from rstore.encoding import columns
from rstore.encoding.bodies import Body
from rstore.encoding.columns import Column, Layout, Table, TimeAxis
from rstore.encoding.texts import Texts, coded_if_it_pays, pack, unpack
from rstore.frames.texts import cut, joined
from tests.conftest import Backend, in_turn
from tests.frames.test_frames import PANDAS_3, PROPERTY, TEXTS, assert_same, records

ODD = ["", "a", "é", "\0", "a\0b", "\N{GRINNING FACE}", "long " * 300, " ", "\n", "\r\n", "\r"]
SURROGATES = ["a", "\ud83d", "\ude00", "é"]
ROWS = 20_000


def series(texts: list[Any], dtype: Any = TEXTS) -> pd.Series:
    return pd.Series(texts, np.arange(len(texts)), dtype)


GIVEN: dict[str, pd.Series] = {
    "odd texts": series(ODD),
    "odd texts that come often": series(ODD * 2_000),
    "few texts": series(["on", "off", "é"] * 7_000),
    "more texts than a byte counts": series([f"sensor {n % 900}" for n in range(ROWS)]),
    "texts that differ": series([f"message {n}" for n in range(ROWS)]),
    "some missing": series(["on", None, "off", ""] * 5_000),
    "all missing": series([None] * 10),
    "few texts, and then others": series(["on", "off"] * 10_000 + [f"é {n}" for n in range(ROWS)]),
    "each segment has its own": series([f"day {n // 5_000}" for n in range(ROWS)]),
    "one text": series(["a"]),
}


@in_turn("name", GIVEN)
def test_texts_come_back_as_they_were(store: Store, name: str) -> None:
    given = GIVEN[name]
    listed = [None if pd.isna(text) else text for text in given.tolist()]
    store.extend(name, given)
    assert_same(store.range(name, to="pandas"), given)
    assert [text for _, text in store.range(name)] == listed
    assert store.range(name, to="arrow")["value"].to_pylist() == listed
    assert store.range(name, to="polars")["value"].to_list() == listed
    assert store.range(name, to="numpy")[1].tolist() == listed
    assert store.last(name) == (len(listed) - 1, listed[-1])
    store.extend("unsorted", given[::-1])
    assert_same(store.range("unsorted", to="pandas"), given)
    store.remove("unsorted")
    store.extend(name, series(["over"]))
    assert [text for _, text in store.range(name, end=9)] == ["over", *listed[1:10]]
    assert store.range(name, to="pandas", end=9).tolist()[0] == "over"
    store.compact()
    assert [text for _, text in store.range(name)] == ["over", *listed[1:]]


@in_turn(
    "given",
    (
        pd.Series(["a", None, "é", ""] * 3, dtype=object),
        pd.Series(["a", "b"], dtype=object),
        pd.Series(["on", "off"] * 5_000, dtype=object),
        pd.Series(SURROGATES * 9, dtype=object),
        pd.Series(["a", np.nan], dtype=object),
        pd.Series(["a", 1, b"a"], dtype=object),
        pd.Series([None, None], dtype=object),
    ),
)
def test_objects_that_are_texts_stay_objects_of_pandas(store: Store, given: pd.Series) -> None:
    store.extend("key", given)
    found = store.range("key", to="pandas")
    assert found.dtype == object
    for now, then in zip(found, given, strict=True):
        assert now is then or type(now) is type(then)
        assert now == then or now != now  # NaN
    store.remove("key")


def test_a_subclass_of_str_is_no_text(store: Store) -> None:
    store.extend("key", pd.Series([Colour.RED, "red"], dtype=object))
    assert type(store.first("key")[1]) is Colour


class Colour(enum.StrEnum):
    RED = "red"


def test_a_dump_of_the_users_own_gets_the_texts_among_objects(backend: Backend) -> None:
    backend.store(JsonStore, namespace="json").extend("key", pd.Series(["a", "b"], dtype=object))
    with pytest.raises(StoreFormatError, match="with its own _dump"):
        backend.store(namespace="json").range("key")


def test_lone_surrogates_come_through_and_libraries_refuse_them(store: Store) -> None:
    store.extend("key", enumerate(SURROGATES))
    store.extend("frame", (np.arange(4), np.array(SURROGATES, object)))
    for key in ("key", "frame"):
        assert [text for _, text in store.range(key)] == SURROGATES
        for to in ("arrow", "polars"):
            with pytest.raises(ValueError, match=f"{to} has no type for a text with lone surrogates"):
                store.range(key, to=to)


ARROW: dict[str, Any] = {
    "texts": pa.array(["a", None, "é", ""]),
    "large": pa.array(["a", None, "é", ""], pa.large_string()),
    "views": pa.array(["a", None, "é", "longer than twelve bytes"], pa.string_view()),
    "a slice": pa.array(["x", "é", "a", None, "b", "", "y"]).slice(1, 4),
    "chunks": pa.chunked_array([["a", "b"], [], [None, "é"]], pa.string()),
    "a dictionary": pa.array(["a", None, "é", "a"]).dictionary_encode(),
    "chunks of dictionaries": pa.chunked_array(
        [pa.array(["a", "b"]).dictionary_encode(), pa.array([None, "é"]).dictionary_encode()]
    ),
    "a dictionary with a null": pa.DictionaryArray.from_arrays([0, 1, 0, None], pa.array(["a", None])),
    "a dictionary of nothing": pa.DictionaryArray.from_arrays(
        pa.array([None, None, None, None], pa.int8()), pa.array([], pa.string())
    ),
    "a dictionary of which rows use little": pa.DictionaryArray.from_arrays([900, 3, 900, 3], [*map(str, range(1000))]),
    "nulls over texts": pa.StringArray.from_buffers(
        4, pa.py_buffer(np.array([0, 1, 2, 3, 4], "i4")), pa.py_buffer(b"abcd"), pa.py_buffer(b"\x05")
    ),
}


@in_turn("name", ARROW)
def test_texts_of_arrow_come_back_whatever_their_layout(store: Store, name: str) -> None:
    store.extend(name, pa.table({"at": [1, 2, 3, 4], "text": ARROW[name]}))
    found = store.range(name, to="arrow")["text"]
    assert found.type == pa.string()
    assert found.to_pylist() == ARROW[name].to_pylist()
    found.validate(full=True)


def test_bytes_that_are_no_text_are_refused_and_nothing_is_stored(store: Store) -> None:
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], "i4")), pa.py_buffer(b"\xff"))
    with pytest.raises(ValueError, match=r"(?i)utf-?8"):
        store.extend("key", pa.table({"at": [1], "text": bad}))
    assert store.timeseries() == []


def test_categories_come_back_as_texts(store: Store) -> None:
    store.extend("pandas", pd.Series(pd.Categorical(["b", None, "a", "b"] * 3_000)))
    store.extend("polars", pl.DataFrame({"at": [1, 2, 3], "text": pl.Series(["a", None, "a"], dtype=pl.Categorical)}))
    assert [text for _, text in store.range("pandas")] == ["b", None, "a", "b"] * 3_000
    assert store.range("pandas", to="pandas").dtype == ("str" if PANDAS_3 else object)
    assert store.range("polars", to="polars")["text"].to_list() == ["a", None, "a"]


# -- how they are kept ------------------------------------------------------------------------------------------------


def test_few_texts_take_a_byte_for_a_row(backend: Backend) -> None:
    store = backend.store()
    store.extend("few", series(["a rather long text", "another one", "é"] * 7_000))
    store.extend("listed", (np.arange(21_000), np.array(["a rather long text", "another one", "é"] * 7_000)))
    assert all(sum(len(record.data) for record in records(backend, key)) < 22_000 for key in ("few", "listed"))


def test_a_segment_has_only_the_texts_of_its_rows() -> None:
    days = Texts([1] * 26, bytes(range(97, 123)), memoryview(bytes([3, 25, 3, 3] * 40)))
    assert (cut(days).tolist(), bytes(cut(days).data)) == (days.tolist(), b"dz")
    assert (cut(days[:4]).tolist(), cut(days[:4]).codes) == (["d", "z", "d", "d"], None)


def test_texts_are_kept_in_these_bytes() -> None:
    """Stored files have them: no version may write or read others."""
    plain, coded = coded_if_it_pays(["a", "", "é"]), coded_if_it_pays(["a", "é"] * 8)
    assert pack(plain) == b"B\1\0\2a\xc3\xa9"
    assert pack(coded) == b"\2\0\0\0B" + b"\0\1" * 8 + b"B\1\2a\xc3\xa9"
    assert unpack(3, memoryview(pack(plain)), is_coded=False).tolist() == ["a", "", "é"]
    assert unpack(16, memoryview(pack(coded)), is_coded=True).tolist() == ["a", "é"] * 8


def test_a_table_of_texts_and_dates_is_kept_in_these_bytes() -> None:
    kinds = (Column("coded", "text"), Column("plain", "text", dtype="str"), Column("day", "date"))
    data = [["on", "é"] * 8, [f"{n:x}" for n in range(16)], list(range(16))]
    table = Table(Layout(TimeAxis("s", "UTC", "at"), kinds, framed=True), data, [None, None, bytes([1] * 2 + [0] * 14)])
    header = (
        b'[["s","UTC","at"],true,[["coded","coded text",null,null,"",0,28],["plain","text",null,null,"str",0,33],'
        b'["day","date",null,null,"",16,64]]]'
    )
    blocks = (
        struct.pack("<I", len(header)) + header,
        b"\2\0\0\0B" + b"\0\1" * 8 + b"B\2\2on\xc3\xa9",
        b"B" + b"\1" * 16 + b"0123456789abcdef",
        b"\1\1" + bytes(14),
        struct.pack("<16i", *range(16)),
    )
    expected = b"".join(block + bytes(-len(block) % 8) for block in blocks)
    assert columns.encode(table, bytes) == expected
    found = columns.decode(expected, 16, lambda *_: [])
    assert found[0] == {"coded": "on", "plain": "0", "day": None}
    assert found[15] == {"coded": "é", "plain": "f", "day": date(1970, 1, 16)}


def test_a_version_that_knows_no_coded_texts_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.extend("key", series(["a", "b"] * 100))
    monkeypatch.setattr(columns, "_CODED", "none")
    with pytest.raises(StoreFormatError, match="columns of kind 'coded text': a newer rstore wrote it"):
        store.range("key")


@in_turn("texts", (["é", "b"], ["é", "b"] * 8, [f"é {n % 300}" for n in range(3_000)]))
def test_damaged_texts_are_a_store_error_and_never_a_raw_one(tmp_path: Path, texts: list[str]) -> None:
    """Whatever byte is another, with a checksum that is right, points are read or the store refuses them."""
    stream, dice = Stream(TS, "key"), np.random.default_rng(1)
    with Store("memory://", frozen=False) as store:
        store.extend("key", series(texts))
        (record,) = store._core.log.read(stream)
        flags, opened = store._core.envelope.sealer.open(stream, record)
        body = bytes(opened)
        header = body.index(b"]]") + 2  # what it means is checked elsewhere
        for at in (header + dice.permutation(len(body) - header)[:300]).tolist():
            changed = body[:at] + bytes((body[at] ^ int(dice.integers(1, 256)),)) + body[at + 1 :]
            forged = store._core.envelope.entry(stream, "extend", Body(flags, changed), start=0, end=record.end)
            store._core.log.rewrite([Rewrite(stream, None, [record.version], [record._replace(data=forged.data)])])
            for to in (None, "pandas", "arrow"):
                with suppress(StorePayloadError):
                    found = store.range("key", to=to)
                    if to == "arrow":
                        found.validate(full=True)


@in_turn(
    ("is_coded", "block"),
    (
        (False, b"B\1\1\xc3\xa9"),
        (False, b"B\1\2ab"),
        (False, b"B\1\1\xffa"),
        (False, b"X\1\1ab"),
        (False, b"B\1"),
        (True, b"\1\0\0\0B\0\1B\1a"),
        (True, b"\0\0\0\0B\0\0B"),
        (True, b"\2\0\0\0H\0\0\2\0B\1\1ab"),
        (True, b"\xff\xff\xff\xffB\0\1B\1a"),
        (True, b"\1\0"),
    ),
)
def test_a_block_that_was_not_written_so_is_no_text(is_coded: bool, block: bytes) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        unpack(2, memoryview(block), is_coded=is_coded)
    assert type(caught.value).__name__ in ("ValueError", "UnicodeDecodeError", "error", "IndexError")


def test_texts_are_read_without_any_library(tmp_path: Path) -> None:
    texts = [*ODD, *SURROGATES]
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("few", series(["on", None, "é"] * 5_000))
        store.extend("odd", pd.Series(texts, dtype=object))
        expected = [store.range(key) for key in ("few", "odd")]
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("numpy", "pandas", "polars", "pyarrow")))
from rstore import Store
with Store({str(tmp_path / "a.db")!r}, frozen=False) as store:
    print(ascii([store.range(key) for key in ("few", "odd")]))
    store.compact()
    print(ascii([store.range(key) for key in ("few", "odd")]))
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert found == [ascii(expected)] * 2


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_texts_need_no_arrow(library: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["pyarrow"] = None
import numpy, pandas, polars
from rstore import Store
texts = ["on", None, "é"] * 5_000
frames = {{
    "pandas": [pandas.Series(texts, dtype="str"), pandas.Series(texts, dtype=object)],
    "polars": [polars.DataFrame({{"at": range(15_000), "text": texts}})],
}}
with Store({str(tmp_path / "a.db")!r}, frozen=False) as store:
    for frame in frames[{library!r}]:
        store.extend("key", frame)
        found = store.range("key", to={library!r})
        assert [text for _, text in store.range("key")] == texts
        assert found.equals(frame), found
        store.remove("key")
"""
    if library == "pandas" and not PANDAS_3:
        code = code.replace('dtype="str"', "dtype=object")  # pandas 2 itself can't make others without pyarrow
    subprocess.run([sys.executable, "-c", code], check=True)


@PROPERTY
@given(st.lists(st.lists(st.text(st.characters(), max_size=3), max_size=20).map(lambda texts: texts * 9), max_size=4))
def test_parts_of_texts_are_put_together_and_cut(parts: list[list[str]]) -> None:
    """Each way through the bytes gives the texts that Python's lists give."""
    found = [coded_if_it_pays(part) if n % 2 else plain(part) for n, part in enumerate(parts)]
    for part, texts in zip(parts, found, strict=True):
        is_coded = texts.codes is not None
        assert unpack(len(part), memoryview(pack(texts)), is_coded=is_coded).tolist() == part == list(texts)
        for some in (slice(1, 5), slice(None, -1), slice(5, 2), slice(None, None, 2)):
            assert texts[some].tolist() == part[some] == cut(texts[some]).tolist()
        assert [texts[at] for at in range(-len(part), len(part))] == part + part
    if parts:
        assert joined(found).tolist() == [text for part in parts for text in part]


def plain(texts: list[str]) -> Texts:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return Texts(list(map(len, encoded)), b"".join(encoded))
