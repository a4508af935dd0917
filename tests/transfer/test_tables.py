"""Anybody's tables become series: what is clear is read as its writer meant it, all else is refused with its line."""

from __future__ import annotations

import gzip
import io
import math
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pandas
import pytest
import vega_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import Store, StoreError, StoreFileError
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.encoding.columns import TimeAxis
from rstore.transfer import Imported, export_points, import_points
from rstore.transfer.tabular import delimited, duplicates, importing
from rstore.transfer.tabular.kinds import CellKind, Kind, Reading, decimal_of, reading_of
from rstore.transfer.tabular.numerals import Numerals, written
from rstore.transfer.tabular.options import TableOptions
from rstore.transfer.tabular.records import Dialect, Quoted, dialect_of, records
from rstore.transfer.tabular.times import TimeStats, form_of
from tests.conftest import in_turn

HOUR, DAY = 3_600_000, 86_400_000
JAN_1 = 1_704_067_200_000  # 2024-01-01 in UTC


@pytest.fixture
def store() -> Any:
    with Store("memory://", frozen=False) as opened:
        yield opened


@pytest.fixture
def read() -> Callable[..., dict[str, list[tuple[int, Any]]]]:
    """Import a table into a new store, and return its series."""

    def read_it(table: str, /, **options: Any) -> dict[str, list[tuple[int, Any]]]:
        names = TableOptions.__attrs_attrs__  # type: ignore[attr-defined]  # attrs gives it
        written = {each.name: options.pop(each.name) for each in names if each.name in options}
        with Store("memory://", frozen=False) as store:
            import_points(store, io.StringIO(table, newline=""), options=TableOptions(**written), **options)
            return {key: list(store.range(key)) for key in store.timeseries()}

    return read_it


Read = Callable[..., dict[str, list[tuple[int, Any]]]]


def refused(read: Read, table: str, /, **options: Any) -> str:
    with pytest.raises((ValueError, StoreError)) as caught:
        read(table, **options)
    return str(caught.value)


class TestWhatComesBack:
    """What was exported is imported as the same."""

    CELLS = st.one_of(
        st.integers(-(10**30), 10**30),
        st.floats(),
        st.text(),
        st.sampled_from(
            ["", " ", "007", "1.5", "2,2", "NA", "-", "nan", "a\r", "\n", '"', "\t", "20240101", "1e5", "\0"]
        ),
    )
    TIMES = st.one_of(st.integers(TIME_MIN, TIME_MAX), st.integers(20_240_101, 20_240_131))

    @given(st.dictionaries(TIMES, CELLS, min_size=1, max_size=20))
    @settings(deadline=None)
    def test_series_of_any_numbers_and_texts(self, points: dict[int, Any]) -> None:
        with Store("memory://", frozen=False) as store:
            store.extend("before", points.items())
            file = io.StringIO(newline="")
            export_points(store, "before", file)
            file.seek(0)
            import_points(store, file, key="after")
            assert alike(store.range("before"), store.range("after"))

    NAMES = st.one_of(st.text(max_size=8), st.sampled_from(["", "\r\n", 'a"b', "a;b;c", "time", "value", " a"]))

    @given(st.dictionaries(NAMES, st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=4), st.booleans())
    @settings(deadline=None)
    def test_rows_of_any_columns(self, columns: dict[str, list[Any]], with_dates: bool) -> None:
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        with Store("memory://", frozen=False) as store:
            if with_dates:
                store.extend("before", pandas.Series([0], pandas.to_datetime([0]).as_unit("s")))
                store.remove("before")
            store.extend("before", *enumerate(rows))
            file = io.StringIO(newline="")
            export_points(store, "before", file)
            file.seek(0)
            import_points(store, file, key="after", rows=True)
            assert alike(store.range("before"), store.range("after"))

    @pytest.mark.parametrize("cell", ["0T", "T", "2026-11-01T", "20261101T"])
    def test_a_date_whose_clock_is_missing_is_no_time(self, store: Store, cell: str) -> None:
        """A column of values with such a cell is not taken for the times."""
        file = io.StringIO(f'time,"",0\n0,0,{cell}\n1,0,0\n2,0,0\n')
        import_points(store, file, key="s", rows=True)
        assert [(time, row["0"]) for time, row in store.range("s")] == [(0, cell), (1, 0), (2, 0)]
        with pytest.raises(StoreFileError, match="line 2"):
            import_points(store, io.StringIO(f"t,v\n{cell},1\n"), key="t", time="t")

    @pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz", "t.txt", "t"])
    def test_files_of_all_names(self, store: Store, tmp_path: Path, name: str) -> None:
        values = ["a\tb", "a,b;c", "\r", "x" * 200_000, "\0", 'say "no"', 1.5, 7, "7"]
        store.extend("before", *enumerate(values))
        export_points(store, "before", tmp_path / name)
        import_points(store, tmp_path / name, key="after")
        assert store.range("after") == store.range("before")

    def test_a_text_that_no_file_can_hold_is_named(self, store: Store, tmp_path: Path) -> None:
        store.extend("s", (1, "fine"), (2, "\ud800"))
        with pytest.raises(ValueError, match="a text at 2 has lone surrogates"):
            export_points(store, "s", tmp_path / "a.csv")
        assert list(tmp_path.iterdir()) == []

    @given(st.lists(st.lists(st.text(), min_size=2, max_size=4), min_size=1, max_size=5))
    @settings(deadline=None)
    def test_cells_that_are_written_are_the_cells_that_are_read(self, rows: list[list[str]]) -> None:
        text = "".join(",".join(map(written, row)) + "\n" for row in rows)
        assert [cells for _, cells in records(io.StringIO(text, newline=""), Dialect(","))] == rows


def alike(before: Any, after: Any) -> bool:
    """Tell whether points are equal, and of equal kinds; floats that are no numbers too."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        if isinstance(value, float) and math.isnan(value):
            return "no number", float
        return value, str if isinstance(value, str) else float

    return [(time, plain(value)) for time, value in before] == [(time, plain(value)) for time, value in after]


class TestMalformed:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('t,x\n1,a\n2,"b\n3,c\n4,d\n', "line 3: a quote is opened here, and never closed"),
            ('t,x\n1,"a"b\n', "line 2: 'b' follows the closing quote of a cell: a quote inside"),
            ('t,x\n1,"a\n2,"c"\n', "line 3: 'c\"' follows the closing quote of a cell, which was opened in line 2"),
            ("t,x,y\n1,2\n", "line 2: there are fewer cells than columns: 2 of 3"),
            ("t,x\n1,2,3\n", "line 2: there are more cells than columns: 3, and 2 names"),
            ("t,x\n1,2\nsoon,\n", "line 3: 'soon' is no time"),
            ("t,x\n1,2\n,3\n", "line 3: '' is no time: the row has values"),
            ("", "line 1: the file is empty"),
            ("t,x\n", "no rows in the table"),
            ("t,x,x\n1,2,3\n", "each once"),
            ("1,2\n3,4\n", "line 1: '1' is a time, so this is a row, and names of columns are missing"),
            ("2024-01-01;5\n", "pass TableOptions(header=False), and the names with columns=[...]"),
        ],
    )
    def test_it_is_refused_with_its_line(self, read: Read, text: str, problem: str) -> None:
        assert problem in refused(read, text)

    @pytest.mark.parametrize(
        "text", ["0,1\n2024-01-01,5\n", ",1\n2024-01-01,5\n", '"2024-01-01",1\n2024-01-01,5\n', "day,1\n2024-01-01,5\n"]
    )
    def test_names_that_are_numbers_are_names(self, read: Read, text: str) -> None:
        assert read(text) == {"1": [(JAN_1, 5)]}

    def test_a_column_that_is_not_there_because_names_are_missing(self, read: Read) -> None:
        assert "names of columns are missing" in refused(read, "2024-01-01,5\n2024-01-02,6\n", time="date")

    def test_without_a_header_columns_are_named(self, read: Read) -> None:
        rows = "2024-01-01,5\n2024-01-02,6\n"
        assert read(rows, header=False, columns=["date", "x"]) == {"x": [(JAN_1, 5), (JAN_1 + DAY, 6)]}
        assert "the names of all of its columns" in refused(read, rows, header=False)
        assert "2 columns in the first row, and 1 names" in refused(read, rows, header=False, columns=["x"])

    @pytest.mark.parametrize(
        "text",
        [
            "t,x\n1,2\n\n3,4\n\n",
            "t,x\n1,2\n,\n3,4\n",
            "sep=;\nt;x\n1;2\n3;4\n",
            "\ufefft,x\r\n1,2\r\n3,4\r\n",
            "t,x\r1,2\r3,4\r",
            't , x\n 1 , 2\n"3" , "4"\n',
            '"t","x"\n"1","2"\n"3","4"\n',
            "t|x\n1|2\n3|4",
        ],
    )
    def test_what_is_only_unusual_is_read(self, read: Read, tmp_path: Path, text: str) -> None:
        (tmp_path / "t.csv").write_bytes(text.encode())
        with Store("memory://", frozen=False) as store:
            import_points(store, tmp_path / "t.csv")
            assert [(time, float(value)) for time, value in store.range("x")] == [(1, 2), (3, 4)]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
    def test_utf_16_is_told(self, store: Store, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "t.csv").write_bytes("t,x\n1,2\n".encode(encoding))
        with pytest.raises(StoreError, match="text in UTF-16: convert it to UTF-8"):
            import_points(store, tmp_path / "t.csv")

    @pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: b"no archive", lambda data: data[:3]])
    def test_a_damaged_archive_is_told(self, store: Store, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
        (tmp_path / "t.csv.gz").write_bytes(damage(gzip.compress(b"t,x\n1,2\n" * 9)))
        with pytest.raises(StoreError, match="no whole archive of gzip: it is damaged, or cut off"):
            import_points(store, tmp_path / "t.csv.gz")

    def test_records_know_their_lines(self) -> None:
        text = 'a,"b\nc"\n\nd, "e" ,5\'10"\n'
        found = list(records(io.StringIO(text), Dialect(",")))
        assert found == [(1, ["a", "b\nc"]), (3, [""]), (4, ["d", "e", "5'10\""])]
        assert [type(cell) for cell in found[2][1]] == [str, Quoted, str]

    def test_a_delimiter_in_quotes_does_not_count(self) -> None:
        assert dialect_of(['"a,b,c,d";e\n']).delimiter == ";"
        assert dialect_of(['"a;\n', 'b;c",d\n']).delimiter == ","


class TestNumbers:
    COLUMNS: ClassVar[list[tuple[dict[CellKind, int], Reading]]] = [
        ({CellKind.INTEGER: 5}, Reading(Kind.INTEGER, skips=True)),
        ({CellKind.INTEGER: 5, CellKind.LONG: 1}, Reading(Kind.INTEGER, skips=True)),
        ({CellKind.INTEGER: 5, CellKind.REAL: 1}, Reading(Kind.REAL, skips=True)),
        ({CellKind.LONG: 5, CellKind.REAL: 1}, Reading(Kind.MIXED, skips=True)),
        ({CellKind.COMMA: 5, CellKind.MISSING: 1}, Reading(Kind.REAL, skips=True)),
        ({CellKind.REAL: 5, CellKind.OTHER_WORD: 1}, Reading(Kind.REAL, skips=True)),
        ({CellKind.REAL: 5, CellKind.TEXT: 1, CellKind.MISSING: 1}, Reading(Kind.MIXED)),
        ({CellKind.INTEGER: 5, CellKind.QUOTED: 1}, Reading(Kind.MIXED)),
        ({CellKind.INTEGER: 5, CellKind.CODE: 1}, Reading(Kind.TEXT)),
        ({CellKind.TEXT: 5, CellKind.MISSING: 1}, Reading(Kind.TEXT)),
        ({CellKind.TEXT: 5, CellKind.OTHER_WORD: 1}, Reading(Kind.TEXT)),
        ({CellKind.TEXT: 5, CellKind.WORD: 1}, Reading(Kind.MIXED)),
        ({CellKind.WORD: 5}, Reading(Kind.REAL, skips=True)),
        ({CellKind.MISSING: 5}, Reading(Kind.TEXT)),
        ({}, Reading(Kind.TEXT)),
    ]

    @pytest.mark.parametrize(("counts", "reading"), COLUMNS)
    def test_what_a_column_is_decides_all_of_its_cells(self, counts: dict[CellKind, int], reading: Reading) -> None:
        assert reading_of(Counter(counts)) == reading
        assert reading_of(Counter(counts), as_text=True) == Reading(Kind.TEXT)

    @pytest.mark.parametrize(
        ("cells", "options", "values"),
        [
            (["1", "2.5"], {}, [1.0, 2.5]),
            (["1", " 2 ", ""], {}, [1, 2]),
            (["1", "NA", "N/A", "NULL", "null", "-", "#N/A", "  "], {}, [1]),
            (["fog", "NA"], {}, ["fog", "NA"]),
            (["1", "closed", "NA"], {}, [1, "closed", "NA"]),
            (["1", "closed", "NA"], {"null": ["closed"]}, [1, "NA"]),
            (["1", "-999"], {"null": ["-999"]}, [1]),
            (["007", "010", "15"], {}, ["007", "010", "15"]),
            (["15", "16"], {"text": ["x"]}, ["15", "16"]),
            (['"15"', "16"], {}, ["15", 16]),
            (["1e3", "nan", "-inf"], {}, [1000.0, math.nan, -math.inf]),
            (["12345678901234567890", "0.5"], {}, [12345678901234567890, 0.5]),
            (['"1,234.5"', '"7"'], {"thousands": ","}, [1234.5, 7.0]),
            (["1'234", "7"], {"thousands": "'"}, [1234, 7]),
            (["1_000"], {}, ["1_000"]),
        ],
    )
    def test_cells_between_commas(
        self, read: Read, cells: list[str], options: dict[str, Any], values: list[Any]
    ) -> None:
        text = "t,x\n" + "".join(f"{at},{cell}\n" for at, cell in enumerate(cells))
        found = [value for _, value in read(text, **options)["x"]]
        assert list(map(repr, found)) == list(map(repr, values))

    @pytest.mark.parametrize("delimiter", [";", "\t", "|"])
    def test_decimals_with_a_comma_between_other_delimiters(self, read: Read, delimiter: str) -> None:
        text = "t;x;y\n1;2,2;5\n2;-0,5;6\n".replace(";", delimiter)
        assert read(text) == {"x": [(1, 2.2), (2, -0.5)], "y": [(1, 5), (2, 6)]}
        assert read(text, decimal=".")["x"] == [(1, "2,2"), (2, "-0,5")]

    def test_a_point_and_a_comma_in_one_table_are_not_guessed_about(self, read: Read) -> None:
        text = "t;x;y\n1;2,2;5\n2;3;1.234\n"
        assert "a point in '1.234', line 3, and with a comma in '2,2', line 2" in refused(read, text)
        assert read(text, thousands=".") == {"x": [(1, 2.2), (2, 3.0)], "y": [(1, 5), (2, 1234)]}
        assert read(text, decimal=".")["y"] == [(1, 5.0), (2, 1.234)]

    def test_numbers_that_are_in_quotes_because_of_their_commas_are_told_of(self, store: Store) -> None:
        text = 't,x,y\n1,"2,2","1,234.5"\n2,"0,5","7"\n'
        assert import_points(store, io.StringIO(text)).texts_among_numbers == 4
        options = TableOptions(decimal=",")
        import_points(store, io.StringIO(text), columns=["x"], options=options, duplicates="last")
        assert store.range("x") == [(1, 2.2), (2, 0.5)]

    def test_thousands_have_three_digits(self) -> None:
        german = Numerals(",", ".")
        cells = ["1.234.567,8", "1.234", "1.23", "1234,5", "0", "01", ".5", ",5"]
        assert [german.number(cell) for cell in cells] == [1234567.8, 1234, None, 1234.5, 0, None, None, 0.5]
        assert decimal_of([]) == "."

    def test_what_can_not_be_meant_is_refused(self) -> None:
        for options in (
            {"decimal": ";"},
            {"thousands": "x"},
            {"delimiter": '"'},
            {"zone": "Berlin"},
            {"delimiter": ""},
        ):
            with pytest.raises(ValueError, match="not"):
                TableOptions(**options)
        with pytest.raises(ValueError, match="can't both"):
            TableOptions(decimal=",", thousands=",")

    def test_a_column_that_is_to_be_text_has_to_be_there(self, read: Read) -> None:
        assert "no column 'y'" in refused(read, "t,x\n1,2\n", text=["y"])


class TestTimes:
    @pytest.mark.parametrize(
        ("cells", "options", "times"),
        [
            (["2024-01-01", "2024/1/2", "20240103"], {}, [0, DAY, 2 * DAY]),
            (["20240101", "20240102"], {}, [0, DAY]),
            (["31.12.2024", "01.02.2024"], {}, [365 * DAY, 31 * DAY]),
            (["31/12/2024", "01/02/2024"], {}, [365 * DAY, 31 * DAY]),
            (["12/31/2024", "02/01/2024 3:05 PM"], {}, [365 * DAY, 31 * DAY + 15 * HOUR + 300_000]),
            (["12-31-2024", "02-01-2024 12 AM"], {}, [365 * DAY, 31 * DAY]),
            (["04/03/2024"], {"date_format": "%m/%d/%Y"}, [93 * DAY]),
            (["Jan 2 2024"], {"date_format": "%b %d %Y"}, [DAY]),
            (["202401020300"], {"date_format": "%Y%m%d%H%M"}, [DAY + 3 * HOUR]),
            (["2024-01-01T01:00+01:00", "2024-01-01 00:00:00.25Z"], {}, [0, 250]),
            (["2024-W01-2", "2024-01-03"], {}, [DAY, 2 * DAY]),
            (["2024-07-01 12:00"], {"zone": "Europe/Berlin"}, [182 * DAY + 10 * HOUR]),
            (["2024-01-01", "2024-01-02"], {"zone": "Europe/Berlin"}, [-HOUR, DAY - HOUR]),
            (["01.01.2024 00:30:00,5"], {}, [1_800_500]),
            (["03/03/2024"], {}, [62 * DAY]),
        ],
    )
    def test_dates_as_people_write_them(
        self, read: Read, cells: list[str], options: dict[str, Any], times: list[int]
    ) -> None:
        text = "when;x\n" + "".join(f"{cell};{at}\n" for at, cell in enumerate(cells))
        assert {value: time - JAN_1 for time, value in read(text, **options)["x"]} == dict(enumerate(times))

    @pytest.mark.parametrize(
        ("cells", "problem"),
        [
            (["03/04/2024"], "line 2: '03/04/2024' may be 2024-04-03 (%d/%m/%Y) or 2024-03-04 (%m/%d/%Y): say it"),
            (["31/12/2024", "12/31/2024"], "line 3: '12/31/2024' begins with the month, and '31/12/2024' in line 2"),
            (["2024-01-01T00:00Z", "2024-01-02T00:00"], "has no offset from UTC, and '00:00Z' in line 2 has one"),
            (["2024-01-01T00:00Z", "20240102"], "'20240102' has no offset from UTC"),
            (["2024-01-01", "32.01.2024"], "line 3: '32.01.2024' is no time"),
            (["2024-01-01", "2024-02-30"], "line 3: '2024-02-30' is no time"),
            (["2024-01-01", "2024-01-02 25:00"], "line 3: '2024-01-02 25:00' is no time"),
            (["2024-01-01", "5"], "line 3: 5 is a number, and other times in its column are dates"),
            (["2024-01-01", "soon"], "say it with TableOptions(date_format=...)"),
        ],
    )
    def test_what_may_be_meant_in_two_ways_or_none_is_refused(self, read: Read, cells: list[str], problem: str) -> None:
        assert problem in refused(read, "when,x\n" + "".join(f"{cell},1\n" for cell in cells), time="when")

    def test_a_format_that_does_not_fit_names_the_line(self, read: Read) -> None:
        text = "t,x\n01.02.2024,1\n2024-02-03,2\n"
        assert "line 3: '2024-02-03' is no time as in '%d.%m.%Y'" in refused(read, text, date_format="%d.%m.%Y")

    def test_some_dates_decide_for_all(self) -> None:
        seen = TimeStats()
        seen.add([2, 3], ["01/02/2024", "13/02/2024"])
        seen.add([4], ["02/01/2024"])
        assert form_of(seen, TableOptions()).reader().read([4], ["02/01/2024"]) == [(JAN_1 + DAY) * 10**6]

    def test_a_day_with_the_number_of_its_month_has_one_meaning(self, read: Read) -> None:
        assert read("when,x\n1/01/2024,1\n") == {"x": [(JAN_1, 1)]}

    def test_integers_stay_what_they_are(self, read: Read) -> None:
        assert read("t,x\n20240101,1\n20241399,2\n") == {"x": [(20_240_101, 1), (20_241_399, 2)]}
        assert read("t,x\n5,1\n-6,2\n") == {"x": [(-6, 2), (5, 1)]}


class TestClocksPutForwardAndBack:
    ZONE: ClassVar[dict[str, str]] = {"zone": "Europe/Berlin"}
    AUTUMN = 1_729_980_000_000  # 2024-10-26T22:00Z, midnight of the 27th in Berlin

    def test_an_hour_that_comes_twice_is_read_in_the_order_of_rows(self, store: Store) -> None:
        hours = ["00:00", "01:00", "02:00", "02:30", "02:00", "02:30", "03:00"]
        text = "t,x\n" + "".join(f"2024-10-27 {hour},{at}\n" for at, hour in enumerate(hours))
        done = import_points(store, io.StringIO(text), options=TableOptions(**self.ZONE))
        assert [(time - self.AUTUMN) / HOUR for time, _ in store.range("x")] == [0, 1, 2, 2.5, 3, 3.5, 4]
        assert done.twice == 4

    def test_also_in_rows_of_several_series(self, read: Read) -> None:
        rows = [(hour, key) for hour in ("01:00", "02:00", "02:00", "03:00") for key in "ab"]
        text = "t,s,x\n" + "".join(f"2024-10-27 {hour},{key},{at}\n" for at, (hour, key) in enumerate(rows))
        found = read(text, key_column="s", **self.ZONE)
        assert [(time - self.AUTUMN) / HOUR for time, _ in found["a"]] == [1, 2, 3, 4]
        assert [time for time, _ in found["a"]] == [time for time, _ in found["b"]]

    def test_an_hour_that_never_was_is_refused(self, read: Read) -> None:
        text = "t,x\n2024-03-31 01:30,1\n2024-03-31 02:30,2\n"
        problem = "line 3: there was no 2024-03-31 02:30 in Europe/Berlin: clocks were put forward"
        assert problem in refused(read, text, **self.ZONE)

    def test_a_day_without_a_midnight_begins_when_clocks_were_put_forward(self, read: Read) -> None:
        days = "t,x\n2018-11-03,3\n2018-11-04,4\n2018-11-05,5\n"
        found = [time // HOUR for time, _ in read(days, zone="America/Sao_Paulo")["x"]]
        assert [later - time for time, later in pairwise(found)] == [24, 23]
        skipped = "t,x\n2011-12-29,3\n2011-12-30,4\n2011-12-31,5\n"
        assert "line 3: there was no 2011-12-30" in refused(read, skipped, zone="Pacific/Apia")

    @given(st.integers(0, 365 * 24 * 4 - 1))
    @settings(deadline=None, max_examples=50)
    def test_local_times_in_order_are_those_that_pandas_infers(self, first: int) -> None:
        index = pandas.date_range("2024-01-01", periods=35_040, freq="15min", tz="Europe/Berlin")[first : first + 200]
        text = "t,x\n" + "".join(f"{moment:%Y-%m-%d %H:%M},1\n" for moment in index)
        with Store("memory://", frozen=False) as store:
            import_points(store, io.StringIO(text), unit="s", options=TableOptions(**self.ZONE))
            found = [time for time, _ in store.range("x")]
        begins_in_second_hour = index[0].fold == 1
        assert found == [int(moment.timestamp()) for moment in index] or begins_in_second_hour


class TestSeveralRowsOfOneTime:
    STATES = "date,state,cases\n2024-01-01,NY,5\n2024-01-01,LA,6\n2024-01-02,NY,7\n2024-01-02,LA,8\n"

    def test_they_are_refused_with_an_example(self, read: Read) -> None:
        problem = refused(read, self.STATES)
        assert "has 2024-01-01T00:00:00.000 already in line 2: make a series for each value of a column" in problem
        assert problem.startswith("line 3: ")
        assert "with key_column=..., or let the last row count with duplicates='last'" in problem
        assert "nothing was stored" in problem

    def test_a_column_of_keys_makes_a_series_of_each(self, read: Read) -> None:
        two = {"LA": [(JAN_1, 6), (JAN_1 + DAY, 8)], "NY": [(JAN_1, 5), (JAN_1 + DAY, 7)]}
        assert read(self.STATES, key_column="state") == two
        assert read(self.STATES, key_column="state", key="us") == {f"us/{key}": points for key, points in two.items()}
        wide = self.STATES.replace("cases", "cases,dead").replace("\n2", ",0\n2").replace(",dead,0", ",dead")
        wide = wide.rstrip() + ",0\n"
        assert list(read(wide, key_column="state")) == ["LA/cases", "LA/dead", "NY/cases", "NY/dead"]
        rows = read(wide, key_column="state", rows=True)
        assert rows["NY"][1] == (JAN_1 + DAY, {"cases": 7, "dead": 0})
        assert "no column 'land'" in refused(read, self.STATES, key_column="land")
        assert "line 2: there is no key in the column 's'" in refused(read, "t,s,x\n1,,5\n", key_column="s")

    def test_prices_of_several_stocks(self, store: Store) -> None:
        table = Path(vega_datasets.__file__).parent / "_data" / "stocks.csv"
        options = TableOptions(date_format="%b %d %Y")
        with pytest.raises(StoreFileError, match=r"'price' has 2000-01-01.* already in line 2"):
            import_points(store, table, time="date", columns=["price"], options=options)
        import_points(store, table, time="date", key_column="symbol", unit="s", options=options)
        assert store.timeseries() == ["AAPL", "AMZN", "GOOG", "IBM", "MSFT"]
        assert store.range("AAPL", "2010-01-01", n=1) == [(1_262_304_000, 192.06)]

    def test_a_code_is_a_key_as_it_stands(self, read: Read) -> None:
        assert read("t,s,x\n1,007,5\n1,7,6\n", key_column="s") == {"007": [(1, 5)], "7": [(1, 6)]}

    def test_the_last_one_counts_where_that_is_said(self, store: Store) -> None:
        done = import_points(store, io.StringIO(self.STATES), duplicates="last", columns=["cases"])
        assert store.range("cases") == [(JAN_1, 6), (JAN_1 + DAY, 8)]
        assert done == Imported(rows=4, points=4, replaced=2)
        with pytest.raises(ValueError, match="duplicates is 'refuse' or 'last', not 'first'"):
            import_points(store, io.StringIO(self.STATES), duplicates="first")  # type: ignore[arg-type]  # it is refused

    def test_points_of_one_time_in_different_columns_are_none(self, read: Read) -> None:
        assert read("t,x,y\n1,5,\n1,,6\n") == {"x": [(1, 5)], "y": [(1, 6)]}

    @pytest.mark.parametrize("times", [range(200), range(200, 0, -1), [t * 7 % 199 for t in range(199)]])
    def test_any_order_will_do(self, read: Read, monkeypatch: pytest.MonkeyPatch, times: Any) -> None:
        self.small_chunks(monkeypatch)
        text = "t,x\n" + "".join(f"{time},{time}\n" for time in times)
        assert read(text)["x"] == [(time, time) for time in sorted(times)]

    @pytest.mark.parametrize(("first", "second"), [(2, 3), (2, 201), (100, 150)])
    def test_they_are_found_across_chunks(
        self, read: Read, monkeypatch: pytest.MonkeyPatch, first: int, second: int
    ) -> None:
        self.small_chunks(monkeypatch)
        times = [t * 7 % 211 for t in range(200)]
        times[second - 2] = times[first - 2]
        text = "t,x\n" + "".join(f"{time},{time}\n" for time in times)
        assert f"line {second}: 'x' has {times[first - 2]} already in line {first}" in refused(read, text)

    def test_the_last_one_counts_across_chunks(self, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
        self.small_chunks(monkeypatch)
        text = "t,x\n" + "".join(f"{time % 50},{time}\n" for time in range(175))
        expected = [(time, 150 + time if time < 25 else 100 + time) for time in range(50)]
        assert read(text, duplicates="last")["x"] == expected

    def test_what_they_replace_is_counted_in_any_order(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.small_chunks(monkeypatch)
        store.extend("x", *((time, "before") for time in range(0, 100, 2)))
        text = "t,x\n" + "".join(f"{time * 7 % 60},{time}\n" for time in range(90))
        assert import_points(store, io.StringIO(text), duplicates="last").replaced == 30 + 30

    @staticmethod
    def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importing, "_CHUNK_POINTS", 30)
        monkeypatch.setattr(delimited, "BLOCK_CELLS", 20)
        monkeypatch.setattr(duplicates, "_SORTED_AT_ONCE", 16)
        monkeypatch.setattr(duplicates, "_READ_ROWS", 3)


class TestAfterAnImport:
    TABLE = "t,x,y,code\n1,5,,007\n2,closed,1,008\n"

    def test_it_is_told_what_was_done(self, store: Store) -> None:
        assert import_points(store, io.StringIO(self.TABLE)) == Imported(2, 5, 0, not_points=1, texts_among_numbers=3)
        done = import_points(store, io.StringIO(self.TABLE))
        assert (done.replaced, int(done)) == (5, 5)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("t,x\n1,5\n2,closed\n", "line 3: 'closed' is a text, and in the column 'x' there are numbers (strict)"),
            ("t,x\n1,007\n", "line 2: '007' is a text, and in the column 'x'"),
            ("t,x,y\n1,5,6\n2,5,\n", "line 3: there is no value in the column 'y' (strict)"),
            ("t,x\n0,1\n7,5\n", "line 3: 'x' has a point at that time already (strict)"),
            ("t,x\n1,1\n1,5\n", "line 3: 'x' has 1 already in line 2"),
        ],
    )
    def test_strictly_all_of_that_is_refused(self, store: Store, text: str, problem: str) -> None:
        store.extend("x", (7, "here"))
        with pytest.raises(StoreFileError) as caught:
            import_points(store, io.StringIO(text), strict=True, duplicates="last")
        assert problem in str(caught.value)
        assert store.range("x") == [(7, "here")]

    def test_what_is_strictly_right_is_stored(self, store: Store) -> None:
        text = io.StringIO("t,x,code\n1,5,007\n")
        assert import_points(store, text, strict=True, options=TableOptions(text=["code"])).points == 2


class TestFirstClass:
    """An imported series is what a frame would have made of it."""

    WEEKS = "date,high,sky,n\n" + "".join(f"2014-12-{day:02},{day / 2},fog,{day}\n" for day in range(20, 32))

    def test_dates_have_a_unit(self, backend: Any) -> None:
        with backend.store() as store:
            import_points(store, io.StringIO(self.WEEKS))
            assert store.time_axis("high") == TimeAxis("ms")
            assert store.range("high", "2014-12-31") == [(1_419_984_000_000, 15.5)]
            assert [value for _, value in store.resample("high", "7D")] == [10.0, 13.5]
            frame = store.range("high", to="pandas")
            assert (frame.dtype, str(frame.index[0])) == ("float64", "2014-12-20 00:00:00")
            assert store.range("n", to="pandas").dtype == "int64"
            assert store.range("sky", n=2) == [(1_419_033_600_000, "fog"), (1_419_120_000_000, "fog")]

    def test_texts_of_parquet_are_dates_as_in_csv(self, store: Store, tmp_path: Path) -> None:
        pandas.DataFrame({"t": ["31/12/2023", "01/01/2024"], "x": [1, 2]}).to_parquet(tmp_path / "t.parquet")
        import_points(store, tmp_path / "t.parquet", options=TableOptions(zone="Europe/Berlin"))
        assert store.range("x") == [(JAN_1 - DAY - HOUR, 1), (JAN_1 - HOUR, 2)]
        assert store.time_axis("x") == TimeAxis("ms", "Europe/Berlin")

    def test_parquet_gets_dates_and_types(self, store: Store, tmp_path: Path) -> None:
        from pyarrow import parquet

        import_points(store, io.StringIO(self.WEEKS), unit="s", key="w", rows=True)
        export_points(store, "w", tmp_path / "w.parquet")
        table = parquet.read_table(tmp_path / "w.parquet")
        assert list(map(str, table.schema.types)) == ["timestamp[ms]", "double", "string", "int64"]

    @pytest.mark.parametrize(
        ("cell", "zone", "meaning"),
        [
            ("2024-01-01", None, TimeAxis("ms")),
            ("2024-01-01T00:00Z", None, TimeAxis("ms", "UTC")),
            ("2024-01-01T00:00+05:00", None, TimeAxis("ms", "UTC")),
            ("2024-01-01", "Europe/Berlin", TimeAxis("ms", "Europe/Berlin")),
            ("2024-01-01T00:00+05:00", "Europe/Berlin", TimeAxis("ms", "Europe/Berlin")),
            ("5", None, TimeAxis()),
        ],
    )
    def test_and_a_zone_if_they_are_of_one(self, store: Store, cell: str, zone: str | None, meaning: TimeAxis) -> None:
        import_points(store, io.StringIO(f"t,x\n{cell},1\n"), options=TableOptions(zone=zone))
        assert store.time_axis("x") == meaning

    def test_times_without_an_offset_do_not_go_into_a_series_of_a_zone(self, store: Store) -> None:
        day = "t,x\n2024-01-02,2\n"
        import_points(store, io.StringIO(day), options=TableOptions(zone="Europe/Berlin"))
        with pytest.raises(
            StoreFileError, match=r"'x' are in the time zone Europe/Berlin.* say in which zone .* TableOptions\(zone"
        ):
            import_points(store, io.StringIO(day))
        assert import_points(store, io.StringIO(day), options=TableOptions(zone="UTC")).replaced == 0
        assert [time - JAN_1 for time, _ in store.range("x")] == [DAY - HOUR, DAY]

    def test_series_that_older_versions_have_imported_go_on_as_they_are(self, store: Store) -> None:
        store.extend("x", (JAN_1, 1))
        import_points(store, io.StringIO("t,x\n2024-01-02,2\n"))
        assert (store.range("x"), store.time_axis("x")) == ([(JAN_1, 1), (JAN_1 + DAY, 2)], TimeAxis())

    def test_rows_with_nothing_in_a_cell(self, store: Store) -> None:
        text = "t,n,f,s\n2024-01-01,1,,a\n2024-01-02,,2.5,\n"
        import_points(store, io.StringIO(text), key="k", rows=True)
        first, second = {"n": 1, "f": None, "s": "a"}, {"n": None, "f": 2.5, "s": None}
        assert store.range("k") == [(JAN_1, first), (JAN_1 + DAY, second)]

    def test_integers_of_any_size(self, store: Store) -> None:
        import_points(store, io.StringIO(f"t,x\n2024-01-01,{2**64}\n2024-01-02,5\n"))
        assert store.range("x") == [(JAN_1, 2**64), (JAN_1 + DAY, 5)]

    def test_somebody_who_writes_the_series_meanwhile_is_not_written_over(self, store: Store) -> None:
        class Written(io.StringIO):
            reads = 0

            def seek(self, *to: int) -> int:
                self.reads += 1
                if self.reads == last:
                    store.extend("x", (5, "theirs"))
                return super().seek(*to)

        last = 0
        counting = Written("t,x\n2024-01-01,1\n")
        import_points(store, counting)
        store.remove("x")
        last = counting.reads
        with pytest.raises(StoreError, match="'x' was written to meanwhile: import the table again"):
            import_points(store, Written("t,x\n2024-01-01,1\n"))
        assert store.range("x") == [(5, "theirs")]


@pytest.mark.parametrize("order", [lambda row: row, lambda row: row * 7919 % 60_013])
@pytest.mark.slow
def test_a_large_table_takes_no_more_memory_than_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Callable[[int], int]
) -> None:
    monkeypatch.setattr(importing, "_CHUNK_POINTS", 4_000)
    monkeypatch.setattr(delimited, "BLOCK_CELLS", 2_000)
    monkeypatch.setattr(duplicates, "_SORTED_AT_ONCE", 4_000)
    peaks = []
    for rows in (12_000, 60_000):
        table = tmp_path / "t.csv"
        table.write_text("t,x\n" + "".join(f"{order(row) * 60},{row}\n" for row in range(rows)))
        with Store(tmp_path / f"{rows}.db", frozen=False) as store:
            tracemalloc.start()
            assert import_points(store, table).points == rows
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


@pytest.mark.parametrize("table", ["t,v,w\n1,1.5,x\n2,,y\n", "date,v,w\n2026-01-01,1.5,x\n2026-01-02,,y\n"])
@in_turn("rows", [False, True])
def test_the_same_table_once_more_stores_nothing(store: Store, table: str, rows: bool) -> None:
    options: dict[str, Any] = {"rows": rows, "key": f"rows {rows}"}
    import_points(store, io.StringIO(table), **options)
    versions = {key: store.version(key, kind="ts") for key in store.timeseries()}

    assert import_points(store, io.StringIO(table), **options).replaced == (2 if rows else 3)
    assert {key: store.version(key, kind="ts") for key in store.timeseries()} == versions
    import_points(store, io.StringIO(table.replace("1.5", "2.5")), **options)
    changed = [key for key in store.timeseries() if store.version(key, kind="ts") != versions[key]]
    assert changed == [options["key"] if rows else f"{options['key']}/v"]
    import_points(store, io.StringIO(table), unless_equal=False, **options)
    assert all(store.version(key, kind="ts") != version for key, version in versions.items() if f"{rows}" in key)
