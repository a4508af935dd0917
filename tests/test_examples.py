"""The tour is the first thing that a newcomer runs: it has to tell the facts of its data, and to keep them secret."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rstore import Store

TOUR = Path(__file__).parent.parent / "examples" / "tour.py"

FACTS = """\
3,376 airports in
airport/SEA                          Seattle-Tacoma Intl
codes like SE?                       SEA SEE SEF SEG SEM SEP SER SET SEZ
the northernmost                     Wiley Post Will Rogers Memorial, 71.3 degrees north
17,518 hourly temperatures in
the first in San Francisco           (1262304000000, 8.8)
1 July, every six hours              13.7 C, 13.6 C, 20.6 C, 17.6 C
hours missing, clocks going forward  2010-03-14 03:00
1,461 days of weather in Seattle in
the hottest day                      2014-08-11, 35.6 C
days of December 2012                {'rain': 23, 'sun': 1, 'snow': 5, 'drizzle': 2}
38 records of that weather in
as they are                          {'temp_max': 35.6, 'temp_min': -7.1, 'precipitation': 55.9, 'wind': 9.5}
as they were at the end of 2012      {'temp_max': 34.4, 'temp_min': -3.3, 'precipitation': 54.1, 'wind': 9.5}
heat, since June 2012                2012-07-08 28.3, 2012-08-04 33.9, 2012-08-16 34.4, 2014-08-11 35.6
prune what was broken                34 events less
what is left of 2012's               {'wind': 9.5}
119 months of jobs in the USA, in thousands in
at the end, without March 2009       {'jobs': 143895}
at the end, March having come late   {'jobs': 143093}
the past agrees with the source in   119 of 119 months
the key 'airport/SEA' is in it       True
the value 'Seattle-Tacoma' is in it  False
read without a key                   StoreMissingKeyError
read with another key                StoreWrongKeyError
write                                FrozenStoreError
still there                          3376 airports, 8759 hours, {'jobs': 143093}
""".splitlines()

VALUES = (b"Seattle-Tacoma", b"Wiley Post Will Rogers", b"longitude", b"drizzle")
NAMES = (b"airport/SEA", b"temperature/sf", b"weather/seattle", b"records", b"temp_max")  # of keys, and of an item


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(TOUR), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tour")


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    """What a tour prints that leaves its file in the folder."""
    done = run(folder, "kept.db")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_tour_tells_the_facts_of_its_data_in_this_order(told: str) -> None:
    rest = told
    for fact in FACTS:
        _, found, rest = rest.partition(fact)
        assert found, f"not told, or not in this place: {fact}"


def test_tour_leaves_no_plaintext_in_its_file(told: str, folder: Path) -> None:
    content = (folder / "kept.db").read_bytes()
    assert [value for value in VALUES if value in content] == []
    assert [name for name in NAMES if name not in content] == []


def test_the_same_values_are_legible_in_a_file_without_key(tmp_path: Path) -> None:
    """Else the test above would hold for any file."""
    with Store(tmp_path / "plain.db", frozen=False) as store:
        store["airport/SEA"] = {"name": "Seattle-Tacoma Intl", "longitude": -122.3093131}
    content = (tmp_path / "plain.db").read_bytes()
    assert [value in content for value in VALUES[:3]] == [True, False, True]


def test_tour_gives_space_back(told: str) -> None:
    before, after = (int(size.replace(",", "")) for size in re.findall(r"([\d,]+) bytes", told))
    assert after < 0.7 * before


def test_a_kept_file_opens_with_the_key_that_is_printed(
    told: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    _, _, call = told.rstrip().rpartition("Look around with ")
    with eval(call, {"Store": Store}) as store:
        assert store["airport/SEA"]["city"] == "Seattle"
        assert store.current("us") == {"jobs": 143093}


def test_tour_does_not_touch_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "mine.db").write_text("mine")
    done = run(tmp_path, "mine.db")
    assert done.returncode == 1
    assert "mine.db exists already" in done.stderr
    assert (tmp_path / "mine.db").read_text() == "mine"


def test_tour_leaves_nothing_behind_without_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    assert run(tmp_path).returncode == 0
    assert list(temporary.iterdir()) == []
    assert list(tmp_path.iterdir()) == [temporary]
