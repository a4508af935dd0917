"""Deliveries: ``python -m benchmarks.deliveries [messages] [sqlite] [postgresql] [redis]``.

It measures how many messages a second are delivered by 1, 2 and 4 processes, with keys that have one message each, and
with keys that have many. The function does nothing, so the figures are what rstore itself takes.
``python -m benchmarks.deliveries slow [messages]`` does the same with a function that takes 50 ms, as a request may.
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
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rstore import Delivery, Store
from tests.support.servers import Postgres, Valkey
from tests.support.workers import sent, teller

ROOT = Path(__file__).parents[1]
ROUNDS = 2
SLOW_SECONDS = 0.05


def fill(dsn: str, namespace: str, messages: int, keys: int) -> None:
    with Store(dsn, namespace, frozen=False) as store:
        for n in range(messages // keys):
            store.set_many({f"order {i}": n for i in range(keys)})


def work(dsn: str, namespace: str, begin: float, seconds: float) -> None:
    """Deliver all with a function that takes some seconds. Print the number of messages, and when the last was sent."""
    done = [begin]

    def send(_: Delivery) -> None:
        time.sleep(seconds)
        done.append(time.time())

    with Store(dsn, namespace, frozen=False) as store:
        time.sleep(max(0.0, begin - time.time()))
        count = store.deliver("mail", send, wait=0.5)
    print(count, done[-1])


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.deliveries", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def rate(dsn: str, namespace: str, messages: int, keys: int, processes: int, seconds: float) -> float:
    """Return how many messages a second some processes deliver, with a function that takes some seconds."""
    fill(dsn, namespace, messages, keys)
    begin = time.time() + 1.5
    workers = [start("work", dsn, namespace, begin, seconds) for _ in range(processes)]
    ended = [worker.communicate()[0].split() for worker in workers]
    assert sum(int(count) for count, _ in ended) == messages
    return messages / (max(float(end) for _, end in ended) - begin)


def measure(name: str, dsn: str, messages: int, seconds: float) -> None:
    for keys in (messages, max(1, messages // 50)):
        for processes in (1, 2, 4):
            rates = [rate(dsn, f"{keys} {processes} {n}", messages, keys, processes, seconds) for n in range(ROUNDS)]
            print(f"{name:10}  {keys:6,} keys  {processes} processes  {median(rates):8,.0f} messages/s", flush=True)


# -- killed -----------------------------------------------------------------------------------------------------------


def deliver(dsn: str, file: str) -> None:
    with Store(dsn, "kill", frozen=False) as store, teller(Path(file)) as tell:
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
        while count_lines(name, folder) < messages or store.deliveries()[0].records:
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
    arrived = sent([line for path in folder.glob(f"{name} *") for line in path.read_text().splitlines()])
    by_key: dict[str, list[int]] = defaultdict(list)
    for each in arrived:
        by_key[each.key].append(each.version)
    missing = sum(len(set(versions) - set(by_key[key])) for key, versions in in_store.items())
    out_of_order = sum(versions != sorted(versions) for versions in by_key.values())
    again = len(arrived) - len({each.token for each in arrived})
    attempts = dict(sorted(Counter(each.attempt for each in arrived).items()))
    print(
        f"{name:10}  {messages:,} messages, {killed} killed in {took:.0f} s: {missing} missing, "
        f"{out_of_order} keys out of order, {again} sent again; attempts {attempts}",
        flush=True,
    )


def count_lines(name: str, folder: Path) -> int:
    return sum(path.read_text().count("\n") for path in folder.glob(f"{name} *"))


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["work"]:
        return work(words[1], words[2], float(words[3]), float(words[4]))
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
                seconds = SLOW_SECONDS if "slow" in words else 0.0
                measure(name, dsns[name], numbers[0] if numbers else 2_000, seconds)
    return None


if __name__ == "__main__":
    main()
