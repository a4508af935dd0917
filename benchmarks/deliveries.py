"""Deliveries: ``python -m benchmarks.deliveries [messages] [sqlite] [postgresql] [redis]``.

It measures how many messages a second are delivered by 1, 2 and 4 processes, with keys that have one message each, and
with keys that have many. The function does nothing, so the figures are what rstore itself takes.
``python -m benchmarks.deliveries kill [messages]`` kills two of four processes at random all the time, and counts what
was sent again. It starts servers for this, which have nothing else to do.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rstore import Store
from tests.support.servers import Postgres, Valkey
from tests.support.workers import Sent, sent, teller

ROOT = Path(__file__).parents[1]
ROUNDS = 2


def fill(dsn: str, namespace: str, messages: int, keys: int) -> None:
    with Store(dsn, namespace, frozen=False) as store:
        for n in range(messages // keys):
            store.set_many({f"order {i}": n for i in range(keys)})


def work(dsn: str, namespace: str, begin: float) -> None:
    """Deliver all, and print how many messages that were, and when it was done."""
    done = [begin]
    with Store(dsn, namespace, frozen=False) as store:
        time.sleep(max(0.0, begin - time.time()))
        count = store.deliver("mail", lambda _: done.append(time.time()), wait=0.5)
    print(count, done[-1])


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.deliveries", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def rate(dsn: str, namespace: str, messages: int, keys: int, processes: int) -> float:
    """Return how many messages a second some processes deliver."""
    fill(dsn, namespace, messages, keys)
    begin = time.time() + 1.5
    workers = [start("work", dsn, namespace, begin) for _ in range(processes)]
    ended = [worker.communicate()[0].split() for worker in workers]
    assert sum(int(count) for count, _ in ended) == messages
    return messages / (max(float(end) for _, end in ended) - begin)


def measure(name: str, dsn: str, messages: int) -> None:
    for keys in (messages, max(1, messages // 50)):
        for processes in (1, 2, 4):
            found = [rate(dsn, f"{keys} {processes} {n}", messages, keys, processes) for n in range(ROUNDS)]
            print(f"{name:10}  {keys:6,} keys  {processes} processes  {median(found):8,.0f} messages/s", flush=True)


# -- killed -----------------------------------------------------------------------------------------------------------


def deliver(dsn: str, told: str) -> None:
    with Store(dsn, "kill", frozen=False) as store, teller(Path(told)) as tell:
        store.deliver(
            "mail",
            lambda each: tell(f"{time.monotonic_ns()} {each.key} {each.version} {each.attempt} {each.token}"),
            wait=math.inf,
            lease=2.0,
            attempts=None,
        )


def kill(name: str, dsn: str, messages: int, folder: Path) -> None:
    """Let four processes deliver, kill one of the first two all the time, and count what was sent."""
    fill(dsn, "kill", messages, 500)
    dice, files = random.Random(1), (folder / f"{name} {n}" for n in range(10**6))
    begin, killed = time.monotonic(), 0
    crew = [start("deliver", dsn, next(files)) for _ in range(4)]
    with Store(dsn, "kill") as store:
        while lines(name, folder) < messages or store.deliveries()[0].records:
            time.sleep(dice.uniform(0.1, 0.6))
            victim = dice.randrange(2)
            crew[victim].kill()
            crew[victim].wait()
            killed += 1
            crew[victim] = start("deliver", dsn, next(files))
        for worker in crew:
            worker.kill()
        took = time.monotonic() - begin
        in_store: dict[str, list[int]] = defaultdict(list)
        for change in store.log():
            in_store[change.key].append(change.version)
    told = sent([line for path in folder.glob(f"{name} *") for line in path.read_text().splitlines()])
    again, out_of_order = report(told, in_store)
    print(
        f"{name:10}  {messages:,} messages, {killed} killed in {took:.0f} s: {missing(told, in_store)} missing, "
        f"{out_of_order} keys out of order, {again} sent again; attempts {dict(sorted(attempts(told)))}",
        flush=True,
    )


def lines(name: str, folder: Path) -> int:
    return sum(path.read_text().count("\n") for path in folder.glob(f"{name} *"))


def by_key(told: list[Sent]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for each in told:
        found[each.key].append(each.version)
    return found


def missing(told: list[Sent], in_store: dict[str, list[int]]) -> int:
    found = by_key(told)
    return sum(len(set(versions) - set(found[key])) for key, versions in in_store.items())


def report(told: list[Sent], in_store: dict[str, list[int]]) -> tuple[int, int]:
    found = by_key(told)
    return len(told) - len({each.token for each in told}), sum(found[key] != sorted(found[key]) for key in in_store)


def attempts(told: list[Sent]) -> Iterator[tuple[int, int]]:
    return iter(Counter(each.attempt for each in told).items())


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["work"]:
        return work(words[1], words[2], float(words[3]))
    if words[:1] == ["deliver"]:
        return deliver(words[1], words[2])
    numbers = [int(word) for word in words if word.isdecimal()]
    chosen = [word for word in words if word in ("sqlite", "postgresql", "redis")] or ["sqlite", "postgresql", "redis"]
    with TemporaryDirectory() as folder, Postgres.start() as postgres, Valkey.start() as valkey:
        dsns = {"sqlite": f"sqlite://{folder}/test.db?timeout=60", "postgresql": postgres.dsn, "redis": valkey.dsn}
        for name in chosen:
            if "kill" in words:
                kill(name, dsns[name], numbers[0] if numbers else 20_000, Path(folder))
            else:
                measure(name, dsns[name], numbers[0] if numbers else 2_000)
    return None


if __name__ == "__main__":
    main()
