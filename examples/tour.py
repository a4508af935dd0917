"""A tour of rstore: real data in one encrypted SQLite file, and questions to its present and its past.

    python examples/tour.py [FILE]

The data come with the package vega_datasets: airports, weather (NOAA), employment (Bureau of Labor Statistics). The
tour makes its file in a temporary folder, and deletes it at the end. If you name a new file, the tour keeps that.
"""

from __future__ import annotations

import csv
import operator
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from vega_datasets import local_data

from rstore import Store, StoreError, new_key

HOUR = 3_600_000  # times are POSIX milliseconds here; to a time series they are ints of any meaning
DAY = 24 * HOUR
MEASURED = ("temp_max", "temp_min", "precipitation", "wind")


def main() -> None:
    with TemporaryDirectory() as folder:
        path = Path(*(sys.argv[1:2] or (folder, "tour.db")))
        if path.exists():
            sys.exit(f"{path} exists already: name a new file, the tour starts from nothing")
        key = new_key()
        with Store(path, key=key, frozen=False) as store:  # without frozen=False it reads, and creates nothing
            key_value_pairs(store)
            hourly_series(store)
            daily_series(store)
            weather_records(store)
            jobs(store)
        closed_file(path, key)
        compaction(path, key)
        if sys.argv[1:]:
            print(f"\nLook around with Store({str(path)!r}, key={key!r})")


def key_value_pairs(store: Store) -> None:
    """A store is a dict that remembers."""
    airports = {f"airport/{row['iata']}": row for row in table("airports")}

    started = perf_counter()
    store.set_many(airports)  # all of them or none
    title("Key/value pairs", len(airports), "airports", started)
    tell("airport/SEA", store["airport/SEA"]["name"])
    tell("codes like SE?", " ".join(row["iata"] for _, row in store.find("airport/SE?")))

    # The table holds text only: overwrite it with numbers. The file keeps the old values until compaction.
    store.update({name: row | {"latitude": float(row["latitude"])} for name, row in store.items()})
    latitude, name = max((row["latitude"], row["name"]) for row in store.values())
    tell("the northernmost", f"{name}, {latitude:.1f} degrees north")


def hourly_series(store: Store) -> None:
    """A series has one value for each timestamp: ``extend`` adds points, and replaces those of the same time."""
    cities = {city: [(ms(r["date"]), float(r["temp"])) for r in table(f"{city}_temps")] for city in ("seattle", "sf")}

    started = perf_counter()
    for city, points in cities.items():
        store.extend(f"temperature/{city}", points)
    title("Time series", sum(map(len, cities.values())), "hourly temperatures", started)
    for name in store.timeseries():  # from Fahrenheit to Celsius, read and written lazily
        store.extend(name, ((t, round((fahrenheit - 32) / 1.8, 1)) for t, fahrenheit in store.points(name)))
    tell("the first in San Francisco", store.first("temperature/sf"))
    july = store.range("temperature/sf", ms("2010-07-01"), n=4, freq=6 * HOUR)
    tell("1 July, every six hours", ", ".join(f"{celsius} C" for _, celsius in july))
    gaps = store.missing("temperature/sf", ms("2010-01-01"), ms("2010-12-31 23:00"), freq=HOUR)
    tell("hours missing, clocks going forward", ", ".join(f"{date(t)} {t % DAY // HOUR:02}:00" for t in gaps))


def daily_series(store: Store) -> None:
    """A value is any object that can be pickled: here a dict, the weather of a day."""
    days = [
        (ms(r["date"]), {k: float(r[k]) for k in MEASURED} | {"sky": r["weather"]}) for r in table("seattle_weather")
    ]

    started = perf_counter()
    store.extend("weather/seattle", days)
    title("Time series", len(days), "days of weather in Seattle", started)
    t, hottest = max(store.points("weather/seattle"), key=lambda point: point[1]["temp_max"])
    tell("the hottest day", f"{date(t)}, {hottest['temp_max']} C")
    december = store.range("weather/seattle", ms("2012-12-01"), end=ms("2012-12-31"))
    tell("days of December 2012", dict(Counter(today["sky"] for _, today in december)))


def weather_records(store: Store) -> None:
    """An event sequence is a dict whose changes are kept: here an item is set whenever its record is broken."""
    better = dict.fromkeys(MEASURED, operator.gt) | {"temp_min": operator.lt}
    held: dict[str, Any] = {}
    n = 0

    started = perf_counter()
    for t, today in store.points("weather/seattle"):
        broken = {k: today[k] for k in MEASURED if k not in held or better[k](today[k], held[k])}
        held = store.apply("records", broken, t=t)  # returns the current state; {} changes nothing
        n += len(broken)
    title("Event sequences", n, "records of that weather", started)
    tell("as they are", store.current("records"))
    tell("as they were at the end of 2012", store.past("records", ms("2012-12-31")))
    heat = store.events("records", start=ms("2012-06-01"), item="temp_max") or ()
    tell("heat, since June 2012", ", ".join(f"{date(event.timestamp)} {event.value}" for event in heat))
    tell("prune what was broken", f"{store.prune('records').records} events less")
    tell("what is left of 2012's", store.past("records", ms("2012-12-31")))


def jobs(store: Store) -> None:
    """An event can also apply an operator. An event that comes late takes its place in the past."""
    first, *rows = table("us_employment")
    changes = {ms(row["month"]): {"jobs": (operator.add, int(row["nonfarm_change"]))} for row in rows}
    march = ms("2009-03-01")
    late = changes.pop(march)

    started = perf_counter()
    store.apply("us", {"jobs": int(first["nonfarm"])}, t=ms(first["month"]))
    for t, change in changes.items():
        store.apply("us", change, t=t)
    title("Event sequences", len(rows), "months of jobs in the USA, in thousands", started)
    tell("at the end, without March 2009", store.current("us"))
    tell("at the end, March having come late", store.apply("us", late, t=march))
    agree = sum(store.past("us", ms(row["month"])) == {"jobs": int(row["nonfarm"])} for row in rows)
    tell("the past agrees with the source in", f"{agree} of {len(rows)} months")


def closed_file(path: Path, key: str) -> None:
    """Names can be read without the key, and values can't. Nothing can be written unless you say frozen=False."""
    print(f"\nThe file: {path.stat().st_size:,} bytes of SQLite, closed")
    tell("the key 'airport/SEA' is in it", b"airport/SEA" in path.read_bytes())
    tell("the value 'Seattle-Tacoma' is in it", b"Seattle-Tacoma" in path.read_bytes())
    for what, other in (("read without a key", None), ("read with another key", new_key()), ("write", key)):
        try:
            with Store(path, key=other) as store:
                store["airport/SEA"] = store["airport/SEA"] | {"name": "Elsewhere"}
        except StoreError as error:
            tell(what, type(error).__name__)


def compaction(path: Path, key: str) -> None:
    """Compaction erases all that no read of the present needs, and gives its space back."""
    with Store(path, key=key, frozen=False) as store:
        started = perf_counter()
        reclaimed = store.compact()
        title("Compaction", reclaimed.records, "records erased", started)
        tell("still there", f"{len(store)} airports, {len(store.range('temperature/sf'))} hours, {store.current('us')}")
    tell("the file now", f"{path.stat().st_size:,} bytes")


def table(name: str) -> list[dict[str, str]]:
    with open(getattr(local_data, name).filepath, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("/", "-")).replace(tzinfo=UTC).timestamp()) * 1000


def date(t: int) -> str:
    return f"{datetime.fromtimestamp(t / 1000, UTC):%Y-%m-%d}"


def title(model: str, n: int, what: str, started: float) -> None:
    print(f"\n{model}: {n:,} {what} in {perf_counter() - started:.3f} s")


def tell(what: str, fact: object) -> None:
    print(f"  {what:<36} {fact}")


if __name__ == "__main__":
    main()
