"""Examples are the first thing that a newcomer runs: they have to tell the facts of their data, on every backend.

The tour has to keep them secret as well.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pexpect
import pytest

from rstore import Store
from tests import conftest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
TOUR = EXAMPLES / "tour.py"

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


def run(folder: Path, *arguments: str, script: Path = TOUR) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(script), *arguments],
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
def output(folder: Path) -> str:
    """Return the output of a tour that keeps its file in the folder."""
    done = run(folder, "kept.db")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_tour_tells_the_facts_of_its_data_in_this_order(output: str) -> None:
    rest = output
    for fact in FACTS:
        _, found, rest = rest.partition(fact)
        assert found, f"not printed, or not in this place: {fact}"


def test_tour_leaves_no_plaintext_in_its_file(output: str, folder: Path) -> None:
    content = (folder / "kept.db").read_bytes()
    assert [value for value in VALUES if value in content] == []
    assert [name for name in NAMES if name not in content] == []


def test_the_same_values_are_legible_in_a_file_without_key(tmp_path: Path) -> None:
    """Else the test above would hold for any file."""
    with Store(tmp_path / "plain.db", frozen=False) as store:
        store["airport/SEA"] = {"name": "Seattle-Tacoma Intl", "longitude": -122.3093131}
    content = (tmp_path / "plain.db").read_bytes()
    assert [value in content for value in VALUES[:3]] == [True, False, True]


def test_tour_gives_space_back(output: str) -> None:
    before, after = (int(size.replace(",", "")) for size in re.findall(r"([\d,]+) bytes", output))
    assert after < 0.7 * before


def test_a_kept_file_opens_with_the_key_that_is_printed(
    output: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    _, _, call = output.rstrip().rpartition("Look around with ")
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


# -- the time machine --------------------------------------------------------------------------------------------------

BANK = """\
Refused, and nothing is booked: Ada has only 5.
Balances: {'ada': 5, 'bob': 80}

Ada asks: where are my 35? Her account's history:
  owner setitem 'Ada'          by nobody: no reason given
  balance setitem 0            by nobody: no reason given
  balance add 100              by counter 3: cash
  balance sub 60               by Ada: rent for May
  balance sub 35               by batch 17: fee for the safe
Before the booking of ticket 4711: Account(owner='Ada', balance=40)
What it changed: {'balance': (40, 5)}
Put right: Account(owner='Ada', balance=40)

The last two entries: balance sub 35, balance setitem 40 by Eve
As the bank saw it in those days: Account(owner='Ada', balance=5)
All who ever booked: Ada, Eve, batch 17, counter 3
"""

RESTATEMENT = """\
Days without a figure: ['10 February']
First quarter, as reported: 12,865

First quarter, as it is now: 12,170
What the report saw: 12,865
Since then: 1 day added, 7 changed, 2 gone.
  extend 10 February, by tills: the till was offline
  extend 3 March to 9 March, by audit: the week of 3 March was counted twice
  remove 30 January to 31 January, by audit: sold in the south
For example 3 March: 161 then, 80 now.

Taken back: 12,865, in a history of 6 entries
"""

SHOP = """\
Last year: ada, 8010 Graz, shipped
4 processes took 10 orders of 12: then the mugs were sold out
Mugs in stock: 0
Orders of each: {'ada': 4, 'bob': 3, 'eve': 3}
Paid by then, as we know now: 15.90 and today: 20.90
What happened:
  Paid(amount=Decimal('15.90'), how='transfer')
  Paid(amount=Decimal('5.00'), how='card')
  Shipped(parcel='PX-17')
  Refunded(amount=Decimal('20.90'), reason='broken')
Mugs in stock: 2
Orders by status: {'open': 9, 'shipped': 1, 'refunded': 1} and of ada: ['2025-1', 'o-00', 'o-03', 'o-06', 'o-09']
Price of a mug, as it was cached: 10.45 and in truth: 11.00
Cash, in cents: [('in', 2090), ('out', 2090)]
Mails: Order/o-00 is on its way: PX-17 and behind: 0
"""

PLACES = ["temporary", "sqlite", "postgresql", "redis", "cluster"]


def test_the_restatement_adds_up() -> None:
    """The figures that the example prints, worked out by hand: it is a test of the story, not only of the program."""
    reported = sum(100 + n for n in range(90) if n != 40)
    week, south = range(61, 68), (29, 30)
    halved = sum(100 + n - (100 + n) // 2 for n in week)
    assert (reported, reported + 140 - halved - sum(100 + n for n in south)) == (12_865, 12_170)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("name", "story"), [("bank", BANK), ("restatement", RESTATEMENT)], ids=["bank", "restatement"])
def test_a_story_is_told_on_every_backend_and_leaves_nothing_behind(
    name: str, story: str, where: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *dsns(where), script=EXAMPLES / f"{name}.py")
    assert (done.stdout, done.stderr, done.returncode) == (story, "", 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", PLACES)
def test_a_shop_of_four_processes_is_told_by_its_log(where: str, tmp_path: Path) -> None:
    done = run(tmp_path, *dsns(where), script=EXAMPLES / "shop.py")
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith(SHOP)
    changes = [line.split("\t") for line in done.stdout.removeprefix(SHOP).splitlines()]
    assert [(change[5], change[6]) for change in changes if change[6].startswith(("decimal", "event", "update"))] == [
        *(("Refunded", "event"), ("paid", "decimal.sub"), ("Shipped", "event")),
        *(("Paid", "event"), ("paid", "decimal.add"), ("Paid", "event"), ("paid", "decimal.add")),
        ("address", "update_in"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_refund_of_the_shop_is_stored_as_a_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    example: Any = importlib.import_module("shop")
    with Store("memory://", frozen=False) as store:
        shop = example.Shop(store)
        shop.articles.create("mug", name="Mug", price=Decimal("10.45"), stock=2)
        shop.customers.create("ada", name="Ada")
        shop.place("o-1", "ada", example.Address("Ring 1", "8010", "Graz"), {"mug": 2})
        before = shop.orders["o-1"]
        shop.articles.delete("mug")
        with pytest.raises(KeyError, match="mug"):
            shop.refund("o-1", "broken")
        assert shop.orders["o-1"] == before


def test_the_page_on_the_shop_shows_what_a_terminal_shows(tmp_path: Path) -> None:
    """The times differ from run to run, and so does the till that is the fastest."""
    child = pexpect.spawn(sys.executable, [str(EXAMPLES / "shop.py")], cwd=tmp_path, dimensions=(60, 120), timeout=120)
    output = re.sub(r"\x1b\[[\d;]*m|\r", "", child.read().decode())
    page = (EXAMPLES.parent / "docs/howto/shop.md").read_text("utf-8")
    blocks = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert without_times_and_tills("".join(blocks)) == without_times_and_tills(output)


def without_times_and_tills(text: str) -> list[str]:
    plain = re.sub(r"till \d", "till", re.sub(r"[\d-]+ [\d:.]+", "(time)", text))
    return [line.rstrip() for line in plain.splitlines() if line.strip()]


def dsns(where: str) -> list[str]:
    servers = {"postgresql": conftest.postgresql, "redis": conftest.redis, "cluster": conftest.cluster}
    return [] if where == "temporary" else [servers[where]() if where in servers else "story.db"]
