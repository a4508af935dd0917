"""Concurrency: threads, processes and forks that share a store lose nothing, and each sees what it may rely on."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from rstore import Store, StoreClosedError
from rstore.adapters.dsn import open_log
from rstore.domain.log import Batch, Entry, Log, Record
from rstore.domain.streams import TS, Stream

pytestmark = pytest.mark.slow

SECONDS = 40
"""No test waits longer than this for anything: whoever is not done by then hangs."""

Child = subprocess.Popen[str]
Start = Callable[..., Child]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not in RAM: a write that waits for a disk holds its lock for longer, and more come in between."""
    with TemporaryDirectory(prefix="rs-") as directory:
        yield Path(directory)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python script in a process group of its own; none outlives the test."""
    children: list[Child] = []

    def start(script: str, *args: object) -> Child:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, args)]
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        children.append(child)
        return child

    yield start
    for child in children:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # with all that it forked
        child.communicate(timeout=SECONDS)


def go(*children: Child) -> None:
    """Let children go on that wait for a line, all at once."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate(timeout=SECONDS)[1]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()


def output(child: Child) -> list[str]:
    """Return the lines that a child prints until it ends, which it has to do without an error."""
    out, err = child.communicate(timeout=SECONDS)
    assert child.returncode == 0, err
    return out.splitlines()


def in_threads(*tasks: Callable[[], Any]) -> list[Any]:
    """Run tasks in threads, let them begin together, and return what they return."""
    barrier = threading.Barrier(len(tasks))

    def run(task: Callable[[], Any]) -> Any:
        barrier.wait(SECONDS)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result(SECONDS) for future in [pool.submit(run, task) for task in tasks]]


class Follower(threading.Thread):
    """Follows a log from the beginning, time and again from where it stopped, until it is told that all is written."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log, self.seen, self.all_written = log, list[tuple[Any, Stream, Record]](), threading.Event()

    def run(self) -> None:
        last = False
        while not last:
            last = self.all_written.is_set()
            self.seen += self.log.follow(self.seen[-1][0] if self.seen else None)

    def finish(self) -> list[tuple[Any, Stream, Record]]:
        self.all_written.set()
        self.join(SECONDS)
        assert not self.is_alive()
        return self.seen


# -- writers -----------------------------------------------------------------------------------------------------------

_WRITES = 20

_FOUR_WRITERS = """
    import operator, sys, threading
    from concurrent.futures import ThreadPoolExecutor
    from rstore import Store

    path, me, writes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    def write(thread):
        for i in range(writes):
            name = f'{me}:{thread}:{i}'
            store.set(name, name)
            store.apply('counter', {'n': (operator.add, 1), 'sum': (operator.add, i)})
            store.extend('series', (int(f'{me}{thread}{i:03}'), name), (int(f'9{me}{thread}{i:03}'), name))
            store.set_many({f'many:{name}:{j}': j for j in range(3)})
            store.set('shared', name)

    with Store(path, frozen=False) as store:
        print('ready', flush=True)
        sys.stdin.readline()
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(write, thread) for thread in range(4)]:
                done.result()
"""


def test_two_processes_with_four_threads_each_lose_nothing_and_a_follower_sees_it_all(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "shared.db"
    with Store(path, frozen=False) as store:
        store.apply("counter", {"n": 0, "sum": 0})
        log = open_log(path)("default", True)
        log.open()
        follower = Follower(log)
        follower.start()
        children = [start(_FOUR_WRITERS, path, me, _WRITES) for me in (1, 2)]
        go(*children)
        for child in children:
            output(child)
        seen = follower.finish()
        everything = list(log.follow())
        log.close()

        names = [f"{me}:{thread}:{i}" for me in (1, 2) for thread in range(4) for i in range(_WRITES)]
        assert store.get_many(names) == {name: name for name in names}
        assert store.find("many:*") == sorted((f"many:{name}:{j}", j) for name in names for j in range(3))
        assert store.current("counter") == {"n": 8 * _WRITES, "sum": 8 * sum(range(_WRITES))}
        assert [event.op for event in store.events("counter")[2:]] == [operator.add] * 16 * _WRITES
        points = [(int(name.replace(":", "")[:2] + f"{int(name[4:]):03}"), name) for name in names]
        assert store.range("series", end=89_999) == sorted(points)
        assert len(store.range("series")) == 2 * len(points)
        assert store["shared"] in names

    assert [position for position, _, _ in seen] == [position for position, _, _ in everything]
    assert all(a[0] < b[0] for a, b in pairwise(seen)), "in order, each exactly once"
    counted = Counter(stream for _, stream, _ in seen)
    assert all(counted["kv", name] == 1 for name in names)
    assert counted["kv", "shared"] == len(names)
    assert counted["ts", "series"] == len(names)
    assert counted["es", "counter"] == 2 + 2 * len(names)
    for stream in counted:
        versions = [record.version for _, of, record in seen if of == stream]
        assert versions == list(range(versions[0], versions[0] + len(versions)))


def test_threads_that_share_a_store_lose_nothing(store: Store, backend: Any) -> None:
    follower = Follower(backend.log())
    store.apply("counter", {"n": 0})
    follower.start()

    def write(me: int) -> None:
        for i in range(25):
            store.set(f"{me}:{i}", i)
            store.apply("counter", {"n": (operator.add, 1)})
            store.extend("series", (100 * me + i, i), (100 * me + i + 50, i))
            store.set_many({f"{me}:{i}:{j}": j for j in range(3)})
            assert store[f"{me}:{i}"] == i
            assert store.range("series", 100 * me + i, n=1) == [(100 * me + i, i)]
            assert store.current("counter")["n"] > i

    in_threads(*(lambda me=me: write(me) for me in range(4)))
    seen = follower.finish()
    assert len(store) == 4 * 25 * 4
    assert store.current("counter") == {"n": 100}
    assert [t for t, _ in store.points("series")] == [
        100 * me + i for me in range(4) for i in [*range(25), *range(50, 75)]
    ]
    assert seen == list(backend.log().follow())


def test_a_follower_that_never_rests_skips_nothing_and_repeats_nothing(backend: Any) -> None:
    """Between a writer's getting its place and its commit there are moments of microseconds: meet some of them."""
    for number in range(8 if backend.name == "postgresql" else 2):
        log, follower = backend.log(f"n{number}"), Follower(backend.log(f"n{number}"))
        follower.start()

        def write(me: int, log: Log = log) -> None:
            for i in range(100):
                log.append([Batch(Stream(TS, f"{me}:{i % 3}"), [Entry(1, 1, "", "extend", b"")], 1)])

        in_threads(*(lambda me=me: write(me) for me in range(4)))
        assert follower.finish() == list(log.follow())


def test_automatic_times_are_strictly_increasing_when_threads_apply_to_one_key(store: Store) -> None:
    in_threads(*[lambda: [store.apply("key", {"n": i}) for i in range(20)]] * 4)
    times = [event.timestamp for event in store.events("key")]
    assert len(times) == 80
    assert times == sorted(set(times))


# -- exactly one wins --------------------------------------------------------------------------------------------------

_RACERS = """
    import sys
    from rstore import Store

    path, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Store(path, frozen=False) as store:
        print('ready', flush=True)
        sys.stdin.readline()
        for i in range(rounds):
            won = store.setdefault(f'key {i}', me) == me
            print('set', i, won)
            popped = store.pop(f'target {i}', None)
            print('popped', i, popped is not None)
"""


def test_of_two_processes_racing_for_a_key_exactly_one_wins(tmp_path: Path, start: Start) -> None:
    path, rounds = tmp_path / "race.db", 40
    with Store(path, frozen=False) as store:
        store.set_many({f"target {i}": i for i in range(rounds)})
        children = [start(_RACERS, path, me, rounds) for me in "ab"]
        go(*children)
        lines = [line.split() for child in children for line in output(child)]
        wins = Counter((what, int(i)) for what, i, won in lines if won == "True")
        assert wins == Counter([("set", i) for i in range(rounds)] + [("popped", i) for i in range(rounds)])
        assert store.find("target*") == []
        assert len(store) == rounds


def test_of_threads_racing_for_a_key_exactly_one_wins(store: Store) -> None:
    rounds = 25
    store.set_many({f"target {i}": i for i in range(rounds)})

    def race(me: int) -> tuple[list[bool], list[bool]]:
        won = [store.setdefault(f"key {i}", me) == me for i in range(rounds)]
        return won, [store.pop(f"target {i}", None) is not None for i in range(rounds)]

    results = in_threads(*(lambda me=me: race(me) for me in range(4)))
    assert [sum(won) for won in zip(*(won for won, _ in results), strict=True)] == [1] * rounds
    assert [sum(got) for got in zip(*(got for _, got in results), strict=True)] == [1] * rounds


def test_setdefault_gives_way_to_who_comes_between_any_two_of_its_reads(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = backend.store(), backend.store()
    reads = {name: getattr(first._core.log, name) for name in ("last", "head", "read", "replay")}
    overtaken = set()
    for name, read in reads.items():

        def read_and_be_overtaken(*args: Any, name: str = name, read: Callable[..., Any] = read) -> Any:
            found = read(*args)
            second.setdefault(f"read with {name}", "second")
            overtaken.add(name)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(first._core.log, name, read_and_be_overtaken)
            won = first.setdefault(f"read with {name}", "first")
        assert won == second[f"read with {name}"] == ("second" if name in overtaken else "first")
    assert overtaken


_CREATORS = """
    import sys
    from rstore import Store

    folder, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    for i in range(rounds):
        print('ready', flush=True)
        sys.stdin.readline()
        with Store(f'{folder}/{i}.db', namespace=f'of {int(me) % 2}', frozen=False) as store:
            store[me] = i
"""


def test_eight_processes_may_create_the_same_file_at_once(tmp_path: Path, start: Start) -> None:
    rounds = 12
    children = [start(_CREATORS, tmp_path, me, rounds) for me in range(8)]
    for _ in range(rounds):
        go(*children)
    for child in children:
        output(child)
    for i in range(rounds):
        for namespace in range(2):
            with Store(tmp_path / f"{i}.db", f"of {namespace}") as store:
                assert dict(store) == {str(me): i for me in range(8) if me % 2 == namespace}


def test_threads_may_open_and_close_one_store_at_once(backend: Any, key: str | None) -> None:
    store = Store(backend.connect, key=key, frozen=False)

    def use(me: int) -> None:
        for i in range(20):
            with store:
                store[f"{me}:{i}"] = i
                assert store[f"{me}:{i}"] == i

    in_threads(*(lambda me=me: use(me) for me in range(4)))
    with store:
        assert len(store) == 80


# -- reading while others write ----------------------------------------------------------------------------------------


def test_iterating_over_points_shows_the_moment_of_the_first_while_others_write_and_compact(store: Store) -> None:
    written = [(t, t) for t in range(20_000)]
    store.extend("series", written[::2])
    store.extend("series", written[1::2])
    first_is_read, others_are_done = threading.Event(), threading.Event()

    def iterate() -> list[tuple[int, Any]]:
        points = store.points("series")
        found = [next(points)]
        first_is_read.set()
        others_are_done.wait(SECONDS)
        return [*found, *points]

    def write() -> None:
        first_is_read.wait(SECONDS)
        store.extend("series", ((t, "changed") for t in range(10_000, 30_000)))
        store.remove("series", start=15_000, end=15_999)
        others_are_done.set()

    found, _ = in_threads(iterate, write)
    assert found == written
    store.compact()
    assert len(store.range("series")) == 29_000


def test_reads_are_whole_while_another_thread_compacts_and_prunes(store: Store) -> None:
    keys = {f"key {i:04}": i for i in range(200)}
    done = threading.Event()

    def rewrite() -> None:
        try:
            for i in range(3):
                store.set_many(keys)
                store.extend("series", ((t, t) for t in range(i, 9000, 3)))
                store.apply("counter", {"n": 7})
                store.compact()
        finally:
            done.set()

    def read() -> int:
        reads = 0
        while not (done.is_set() and reads):
            assert dict(store.items()) == keys
            assert list(store.points("series")) == [(t, t) for t in range(9000)]
            assert store.current("counter") == {"n": 7}
            reads += 1
        return reads

    store.set_many(keys)
    store.extend("series", ((t, t) for t in range(9000)))
    store.apply("counter", {"n": 7})
    in_threads(rewrite, read, read)


def test_compacting_does_not_wait_for_those_who_iterate(tmp_path: Path) -> None:
    """A suspended reader may be in the same thread, so to wait for it is to hang."""
    with Store(f"sqlite://{tmp_path / 'test.db'}?timeout=600", frozen=False) as store, ThreadPoolExecutor(1) as pool:
        store.extend("series", ((t, t) for t in range(0, 20_000, 2)))
        store.extend("series", ((t, t) for t in range(1, 20_000, 2)))
        points = store.points("series")
        found = [next(points)]
        compacting = pool.submit(store.compact)
        hangs = bool(wait([compacting], timeout=10).not_done)
        found += points
        assert compacting.result(SECONDS).records > 0
        assert found == store.range("series") == [(t, t) for t in range(20_000)]
        assert not hangs


def test_an_iterator_may_be_read_by_another_thread_than_the_one_that_made_it(store: Store) -> None:
    store.extend("series", ((t, t) for t in range(9000)))
    store.set_many({str(i): i for i in range(600)})
    points, items = store.points("series"), iter(store.items())
    next(points), next(items)
    (count_of_points, count_of_items) = in_threads(lambda: sum(1 for _ in points), lambda: sum(1 for _ in items))
    assert (count_of_points, count_of_items) == (8999, 599)


def test_the_body_of_a_loop_over_a_store_may_write_to_it(store: Store) -> None:
    store.set_many({f"{i:04}": i for i in range(700)})
    seen = []
    for key in store:
        seen.append(key)
        store[key] = -1
        store[f"!{key}"] = "before all others"
        if int(key) % 2:
            del store[key]
    assert seen == [f"{i:04}" for i in range(700)]
    assert store.find("[0-9]*") == [(f"{i:04}", -1) for i in range(0, 700, 2)]
    assert len(store.find("!*")) == 700


def test_the_body_of_a_loop_over_points_may_write_to_the_series(store: Store) -> None:
    store.extend("series", ((t, t) for t in range(9000)))
    for t, _ in store.points("series"):
        if t % 100 == 0:
            store.extend("series", (t, "seen"), (t + 1, "not seen"))
            store.remove("series", start=t + 2, end=t + 2)
    assert store.range("series", 100, n=3) == [(100, "seen"), (101, "not seen"), (103, 103)]
    assert len(store.range("series")) == 9000 - 90


def test_a_generator_given_to_extend_may_write_to_the_store(store: Store) -> None:
    def points() -> Iterator[tuple[int, str]]:
        for t in range(10_000):
            if t % 1000 == 0:
                store["progress"] = t
                store.extend("series", (t, "inner"), (-t, "inner"))
                store.apply("log", {"t": t})
                assert (t, "outer") not in store.range("series", t, n=1)
            yield t, "outer"

    store.extend("series", points())
    assert store["progress"] == 9000
    assert store.current("log") == {"t": 9000}
    assert store.range("series", 0) == [(t, "outer") for t in range(10_000)]
    assert store.range("series", end=-1) == [(t, "inner") for t in range(-9000, 0, 1000)]


# -- fork --------------------------------------------------------------------------------------------------------------

_FORK = """
    import operator, os, sys, traceback
    from rstore import Store

    path, key = sys.argv[1], sys.argv[2] or None
    with Store(path, key=key, frozen=False) as store:
        store['who'] = 'parent'
        store.extend('series', ((t, t) for t in range(20_000)))
        store.apply('counter', {'n': 0})
        points = store.points('series')
        next(points)
        children = []
        for child in range(3):
            pid = os.fork()
            if not pid:
                try:
                    assert store['who'] == 'parent'
                    assert store.range('series', n=1) == [(0, 0)]
                    for i in range(20):
                        store[f'child {child}:{i}'] = i
                        store.apply('counter', {'n': (operator.add, 1)})
                    assert store[f'child {child}:19'] == 19
                    store.close()
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(pid)
        for i in range(20):
            store[f'parent:{i}'] = i
            store.apply('counter', {'n': (operator.add, 1)})
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        assert sum(1 for _ in points) == 19_999
        assert store.current('counter') == {'n': 80}
        store['who'] = 'parent still'
"""


def test_after_a_fork_both_parent_and_children_go_on(tmp_path: Path, start: Start, key: str | None) -> None:
    path = tmp_path / "fork.db"
    output(start(_FORK, path, key or ""))
    with Store(path, key=key) as store:
        assert len(store) == 81
        assert store["who"] == "parent still"
        assert store.current("counter") == {"n": 80}
        assert len(store.range("series")) == 20_000


_FORK_WHILE_THREADS_WRITE = """
    import os, sys, threading, traceback
    from rstore import Store

    with Store(sys.argv[1], frozen=False) as store:
        stop = threading.Event()

        def write(me):
            i = 0
            while not stop.is_set():
                store.set_many({f'{me}:{i}': i, f'{me}:{i}:twin': i})
                i += 1

        store.set_many({'first': 0, 'first:twin': 0})  # which also reads: a fork while a thread reads is refused
        threads = [threading.Thread(target=write, args=(me,)) for me in range(3)]
        for thread in threads:
            thread.start()
        failed = 0
        for child in range(20):
            pid = os.fork()
            if not pid:
                try:
                    store.set_many({f'child {child}': child, f'child {child}:twin': child})
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            failed += os.waitpid(pid, 0)[1] != 0
        stop.set()
        for thread in threads:
            thread.join()
        assert not failed
"""


def test_a_fork_in_the_middle_of_other_threads_writes_does_not_hang_the_child(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "fork.db"
    output(start(_FORK_WHILE_THREADS_WRITE, path))
    with Store(path) as store:
        assert len(store.find("child*")) == 40
        assert len(store.find("*:twin")) * 2 == len(store)


_FORK_AND_CLOSE = """
    import os, sys
    from rstore import Store

    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    with Store(sys.argv[1], frozen=False) as store:
        store['parent'] = 1
        store.extend('series', *((t, t) for t in range(10)))
        store.remove('series', start=3, end=4)
        points = store.points('series') if sys.argv[2] != 'idle' else None
        if points is not None:
            next(points)
        if sys.argv[2] == 'closed':
            store.close()
            store.open()
        pid = os.fork()
        if not pid:
            store['child, early'] = 1
            os.write(to_parent, b'.')
            os.read(from_parent, 1)
            store['child, late'] = 1
            os._exit(0)
        os.read(from_child, 1)
        del points
    os.write(to_child, b'.')
    assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.parametrize("iterator", ["idle", "suspended", "closed"])
def test_what_a_forked_child_writes_stays_though_the_parent_closes_its_store(
    tmp_path: Path, start: Start, iterator: str
) -> None:
    path = tmp_path / "fork.db"
    output(start(_FORK_AND_CLOSE, path, iterator))
    with Store(path) as store:
        assert dict(store) == {"parent": 1, "child, early": 1, "child, late": 1}


def test_closing_a_store_while_other_threads_write_ends_them_with_a_clear_error(backend: Any) -> None:
    store = Store(backend.connect, frozen=False)
    writing = threading.Barrier(4)

    def write(me: int) -> int:
        store.set_many({f"{me}:0": 0, f"{me}:0:twin": 0})
        writing.wait(SECONDS)
        for i in range(1, 10_000):
            try:
                store.set_many({f"{me}:{i}": i, f"{me}:{i}:twin": i})
            except StoreClosedError:
                return i
        raise AssertionError("the store is closed, and yet it takes writes")

    def close() -> None:
        writing.wait(SECONDS)
        store.close()

    store.open()
    *acknowledged, _ = in_threads(*(lambda me=me: write(me) for me in range(3)), close)
    with store:
        for me, count in enumerate(acknowledged):
            assert len(store.find(f"{me}:*")) in (2 * count, 2 * count + 2), "the last one may be in, as a whole"
