"""Faults: killed writers, full disks, damaged files and missing rights cost an error, never what was acknowledged."""

from __future__ import annotations

import operator
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from rstore import FrozenStoreError, Store, StoreError, StoreNotAvailableError

pytestmark = pytest.mark.slow

MORE = 2 if "RSTORE_EXAMPLES" in os.environ else 0
"""How many times more there is to kill and to damage, when the tests search for longer than usual."""

SECONDS = 60
"""No test waits longer than this for anything: whoever is not done by then hangs."""

Child = subprocess.Popen[str]
Start = Callable[..., Child]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python script in a process group of its own; none outlives the test."""
    children: list[Child] = []

    def start(script: str, *args: object, before: tuple[str, ...] = ()) -> Child:
        command = [*before, sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        children.append(child)
        return child

    yield start
    for child in children:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # with all that it forked
        child.communicate(timeout=SECONDS)


def ask(child: Child, *words: object) -> list[str]:
    """Send a line to a child and return the words that it answers."""
    assert child.stdin is not None
    assert child.stdout is not None
    print(*words, file=child.stdin, flush=True)
    return child.stdout.readline().split()


def output(child: Child) -> list[str]:
    """Return the lines that a child prints until it ends, which it has to do without an error."""
    out, err = child.communicate(timeout=SECONDS)
    assert child.returncode == 0, err
    return out.splitlines()


def check_integrity(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# -- kill -9 -----------------------------------------------------------------------------------------------------------

# One process forks a writer for each line, kills it so many operations and seconds later, and answers with the last
# operation that the writer saw return. It opens no store itself: each writer is a process that knows only the file.
_MURDERER = """
    import operator, os, signal, sys, time
    import rstore.adapters.sqlite.log, rstore.encoding.cipher  # now, and not once for each writer
    from rstore import Store

    key = sys.argv[1] or None

    def write(path, i, acknowledged):
        with Store(path, key=key, frozen=False) as store:
            if 'counter' not in store.eventsources():
                store.apply('counter', {'n': 0, 'last': -3})
            while True:
                kind = i % 6
                if kind == 0:
                    store[f'set {i}'] = i
                elif kind == 1:
                    store.set_many({f'many {i}:{j}': i for j in range(40)})
                elif kind == 2:
                    store.extend(f'series {i % 4}', ((i * 10_000 + t, i) for t in range(6000)))
                elif kind == 3:
                    store.apply('counter', {'n': (operator.add, 1), 'last': i})
                elif kind == 4:
                    store.delete(f'set {i - 4}', *(f'many {i - 3}:{j}' for j in range(20)))
                else:
                    store.compact()
                os.write(acknowledged, f'{i} '.encode())
                i += 1

    for line in sys.stdin:
        path, first, count, seconds = line.split()
        source, sink = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(source)
            try:
                write(path, int(first), sink)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
        os.close(sink)
        numbers = b''
        while numbers.count(b' ') < int(count) and (more := os.read(source, 1000)):
            numbers += more
        time.sleep(float(seconds))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        with os.fdopen(source, 'rb') as acknowledged:
            numbers = (numbers + acknowledged.read()).split()
        print(status, int(numbers[-1]) if numbers else int(first) - 1, flush=True)
"""
_KILLED = 9


def check_acknowledged(store: Store, done: int) -> int:
    """Check that operations 0 to ``done`` are in, and at most one more, which is whole; return the last that is in."""
    counts: dict[str, int] = {}
    for key, value in store.items():
        assert key.split(":", maxsplit=1)[0].split()[1] == str(value)
        counts[key.partition(":")[0]] = counts.get(key.partition(":")[0], 0) + 1
    series = [point for key in store.timeseries() for point in store.points(key)]
    points: dict[int, int] = {}
    for t, value in series:
        assert t // 10_000 == value
        points[value] = points.get(value, 0) + 1
    counter = store.current("counter") or {"n": 0, "last": -3}
    last = done
    if f"set {done + 1}" in counts or f"many {done + 1}" in counts or done + 1 in points:
        last = done + 1
    if counter["last"] == done + 1:
        last = done + 1
    if (done + 1) % 6 == 4 and counts.get(f"set {done - 3}") is None:
        last = done + 1
    whole = range(last + 1)
    deleted = {i - 4 for i in whole if i % 6 == 4}
    assert counts == {f"set {i}": 1 for i in whole if i % 6 == 0 and i not in deleted} | {
        f"many {i}": 20 if i - 1 in deleted else 40 for i in whole if i % 6 == 1
    }
    assert points == {i: 6000 for i in whole if i % 6 == 2}
    assert counter == {"n": len([i for i in whole if i % 6 == 3]), "last": max(i for i in [-3, *whole] if i % 6 == 3)}
    return last


def test_what_a_killed_writer_was_told_is_in_and_nothing_half_written_is(
    tmp_path: Path, start: Start, key: str | None
) -> None:
    path, moments = tmp_path / "killed.db", random.Random(1)
    murderer, last, written = start(_MURDERER, key or ""), -1, 0
    rounds = 80 * (1 + MORE)
    for _ in range(rounds):
        status, done = map(int, ask(murderer, path, last + 1, moments.randrange(6), moments.uniform(0, 0.01)))
        assert status == _KILLED, "the writer came to an end of its own"
        written += done - last
        with Store(path, key=key, frozen=False) as store:
            last = check_acknowledged(store, done)
            if last > 120:
                store.discard()
                last = -1
        if path.exists():
            check_integrity(path)
    assert written > rounds


def test_a_writer_killed_while_it_creates_the_file_leaves_one_that_opens(
    tmp_path: Path, start: Start, key: str | None
) -> None:
    murderer, moments = start(_MURDERER, key or ""), random.Random(2)
    for i in range(25):
        path = tmp_path / f"{i}.db"
        status, done = map(int, ask(murderer, path, 0, 0, moments.uniform(0, 0.02)))
        assert status == _KILLED, "the writer came to an end of its own"
        with Store(path, key=key, frozen=False) as store:
            store["after"] = 1
            assert store["after"] == 1
            assert done < 0 or done >= 3 or store["set 0"] == 0
            assert len(store.find("many 1:*")) in ((0, 40) if done < 1 else (20, 40))
        check_integrity(path)


# -- a full disk -------------------------------------------------------------------------------------------------------

_FULL = """
    import operator, os, resource, signal, sys
    from rstore import Store, StoreError

    def fill(store):
        big = os.urandom(200_000)
        writes = [
            lambda i: store.set(f'set {i}', big),
            lambda i: store.set_many({f'many {i}:{j}': big[:30_000] for j in range(8)}),
            lambda i: store.extend('series', ((i * 100 + t, big[:30_000]) for t in range(8))),
            lambda i: store.apply('log', {str(i): big}),
        ]
        refused, done = 0, [[], [], [], []]
        for i in range(200):
            try:
                writes[i % 4](i)
                done[i % 4].append(i)
            except StoreError as error:
                assert 'disk' in str(error), error
                refused += 1
        return big, refused, done

    def check(store, big, done):
        assert store.find('set *') == sorted((f'set {i}', big) for i in done[0])
        assert store.find('many *') == sorted((f'many {i}:{j}', big[:30_000]) for i in done[1] for j in range(8))
        assert store.range('series') == [(i * 100 + t, big[:30_000]) for i in done[2] for t in range(8)]
        assert (store.current('log') or {}) == {str(i): big for i in done[3]}

    path, how = sys.argv[1:]
    if how == 'limit':
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, unlimited[1]))
    else:
        ballast = os.path.join(os.path.dirname(path), 'ballast')
        with open(ballast, 'wb') as file:
            file.write(bytes(3 << 20))
    with Store(path, frozen=False) as store:
        big, refused, done = fill(store)
        assert refused > 50, refused
        assert sum(map(len, done)) > 4, done
        check(store, big, done)
        if how == 'limit':
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        else:
            os.unlink(ballast)
        store['after'] = big
        assert store['after'] == big
        store.extend('other', (1, big))
        check(store, big, done)
    with Store(path) as store:
        check(store, big, done)
        assert store['after'] == big
        assert store.range('other') == [(1, big)]
"""


def test_when_a_file_may_not_grow_writes_fail_cleanly_and_go_on_once_it_may(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "full.db"
    output(start(_FULL, path, "limit"))
    check_integrity(path)


def test_when_the_disk_is_full_writes_fail_cleanly_and_go_on_once_there_is_space(tmp_path: Path, start: Start) -> None:
    """A mount of its own, in a namespace that ends with the process."""
    mount = 'mount -t tmpfs -o size=12m rstore "$0" && exec "$@"'
    script = textwrap.dedent(_FULL)
    command = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        mount,
        tmp_path,
        sys.executable,
        "-c",
        script,
        tmp_path / "full.db",
        "disk",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr


# -- damage ------------------------------------------------------------------------------------------------------------

VALUES = {f"key {i}": [f"value of key {i}", i, {"x": "y" * i * 10}] for i in range(40)}
POINTS = [(t * 7, f"point {t}") for t in range(900)]
STATE = {f"item {i}": f"state {i}" for i in range(30)}


@pytest.fixture
def intact(tmp_path: Path, key: str | None) -> bytes:
    """A file with something of everything in it."""
    path = tmp_path / "intact.db"
    with Store(path, key=key, frozen=False) as store:
        store.set_many(VALUES)
        store.extend("series", POINTS)
        store.extend("series", (5, "five"))
        store.remove("series", start=5, end=5)
        for item, value in STATE.items():
            store.apply("sequence", {item: value})
        store.delete("unknown", "key 0")
        store["key 0"] = VALUES["key 0"]
    assert not path.with_name("intact.db-wal").exists()
    return path.read_bytes()


READS: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: [store.get(key) for key in VALUES],
    "items": lambda store: list(store.items()),
    "len": len,
    "get_many": lambda store: store.get_many(VALUES),
    "range": lambda store: store.range("series"),
    "slice": lambda store: store.range("series", 700, end=1400),
    "last": lambda store: (store.first("series"), store.last("series")),
    "current": lambda store: store.current("sequence"),
    "events": lambda store: store.events("sequence"),
    "past": lambda store: store.past("sequence", 0),
    "lists": lambda store: (store.keys(), store.timeseries(), store.eventsources()),
    "follow": lambda store: list(store._core.log.follow()),
}
WRITES: dict[str, Callable[[Store], Any]] = {
    "set": lambda store: store.set("key 1", 1),
    "new": lambda store: store.set("new", 1),
    "pop": lambda store: store.pop("key 2", None),
    "extend": lambda store: store.extend("series", (1, "new"), (100_000, "new")),
    "remove": lambda store: store.remove("series", start=70, end=700),
    "apply": lambda store: store.apply("sequence", {"item 1": (operator.add, "!")}),
    "prune": lambda store: store.prune("sequence"),
    "compact": lambda store: store.compact(),
}


def outcomes(store: Store, calls: dict[str, Callable[[Store], Any]]) -> dict[str, Any]:
    """Return what calls return, without those that raise a StoreError; any other error is a failure."""
    found = {}
    for name, call in calls.items():
        try:
            found[name] = call(store)
        except StoreError:
            continue
        except Exception as error:
            error.add_note(f"raised by {name}")
            raise
    return found


def try_damaged(path: Path, data: bytes, key: str | None) -> dict[str, Any]:
    """Read a file frozen, then write to it; return what was read."""
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    path.write_bytes(data)
    found: dict[str, Any] = {}
    for frozen, calls in ((True, READS), (False, WRITES)):
        try:
            with Store(path, key=key, frozen=frozen) as store:
                found |= outcomes(store, calls)
        except StoreError:
            continue
    return found


def check_read(found: dict[str, Any], key: str | None) -> None:
    """Check that each value was written once, and those that are encrypted also where."""
    values = list(VALUES.values())
    for name, value in zip(VALUES, found.get("get", ()), strict=False):
        assert value in (VALUES[name], None) if key else value in [*values, *STATE.values(), None, "five"]
    for name, value in found.get("items", ()):
        assert VALUES.get(name) == value if key else value in [*values, *STATE.values(), "five"]
    texts = {value for _, value in POINTS} | {"five"}
    for _, value in found.get("range", ()):
        assert value in texts or not key
    for item, value in (found.get("current") or {}).items():
        assert not key or STATE.get(item) == value


def test_a_file_cut_off_anywhere_gives_clear_errors_or_what_was_written(
    tmp_path: Path, intact: bytes, key: str | None
) -> None:
    sizes = {0, 1, 15, 16, 99, 100, 101, len(intact) - 1, *range(0, len(intact), 4096), *range(2048, len(intact), 8192)}
    for size in sorted(sizes):
        check_read(try_damaged(tmp_path / "cut.db", intact[:size], key), key)


@pytest.mark.parametrize("seed", range(1, 2 + MORE))
def test_a_flipped_bit_anywhere_gives_clear_errors_or_what_was_written(
    tmp_path: Path, intact: bytes, key: str | None, seed: int
) -> None:
    chance = random.Random(seed)
    positions = [*chance.sample(range(100), 10), *chance.sample(range(len(intact)), 90)]
    for position in positions:
        data = bytearray(intact)
        data[position] ^= 1 << chance.randrange(8)
        try:
            check_read(try_damaged(tmp_path / "flipped.db", bytes(data), key), key)
        except Exception as error:
            error.add_note(f"byte {position} was {intact[position]} and is {data[position]}")
            raise


def test_zeroed_pages_give_clear_errors_or_what_was_written(tmp_path: Path, intact: bytes, key: str | None) -> None:
    for page in range(0, len(intact), 4096):
        data = intact[:page] + bytes(4096) + intact[page + 4096 :]
        check_read(try_damaged(tmp_path / "zeroed.db", data, key), key)


@pytest.mark.parametrize("content", [b"hello, I am a text\n" * 300, b"\0" * 5000, b"SQLite format 3\0" + b"x" * 200])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes, frozen: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"notes\.txt"):
        Store(path, frozen=frozen).open()
    assert path.read_bytes() == content


@pytest.mark.parametrize("frozen", [True, False])
def test_a_directory_is_refused(tmp_path: Path, frozen: bool) -> None:
    with pytest.raises(StoreNotAvailableError, match=tmp_path.name):
        Store(tmp_path, frozen=frozen).open()


# -- rights ------------------------------------------------------------------------------------------------------------

_NOBODY = """
    import os, sys
    import rstore.adapters.sqlite.log  # now: who may not read the store's directory may not read Python's either
    from rstore import FrozenStoreError, Store, StoreNotAvailableError

    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    path = sys.argv[1]
    with Store(path) as store:
        assert store['key'] == 'value'
        assert store.range('series') == [(1, 'a'), (2, 'b')]
        assert store.current('sequence') == {'n': 1}
        try:
            store['key'] = 2
        except FrozenStoreError:
            pass
        else:
            raise AssertionError('written')
    try:
        with Store(path, frozen=False) as store:
            store['key'] = 2
    except StoreNotAvailableError as error:
        print(error)
"""


@pytest.mark.parametrize(("file", "directory"), [(0o444, 0o777), (0o444, 0o555), (0o644, 0o555)])
def test_who_may_only_read_a_file_reads_it_frozen_and_is_told_why_not_more(
    start: Start, tmp_path_factory: pytest.TempPathFactory, file: int, directory: int
) -> None:
    folder = Path("/tmp") / tmp_path_factory.mktemp("rights").relative_to("/").as_posix().replace("/", "-")
    folder.mkdir()
    try:
        path = folder / "a.db"
        with Store(path, frozen=False) as store:
            store["key"] = "value"
            store.extend("series", (1, "a"), (2, "b"))
            store.apply("sequence", {"n": 1})
        path.chmod(file)
        folder.chmod(directory)
        (said,) = output(start(_NOBODY, path))
        assert "a.db" in said
        assert "writ" in said or "read" in said
    finally:
        folder.chmod(0o777)
        shutil.rmtree(folder)


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_lock_held_for_longer_than_the_timeout_is_named_and_forgotten_once_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    writes: list[Callable[[Store], Any]] = [
        lambda store: store.set("key", 2),
        lambda store: store.set_many({"key": 2, "other": 2}),
        lambda store: store.delete("key"),
        lambda store: store.extend("series", (1, 2)),
        lambda store: store.apply("sequence", {"n": 2}),
        lambda store: store.compact(),
    ]
    with Store(f"sqlite://{path}?timeout=0.1", frozen=False) as store, closing(sqlite3.connect(path)) as other:
        store["key"] = 1
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        for write in writes:
            with pytest.raises(StoreNotAvailableError, match="timeout"):
                write(store)
        assert dict(store) == {"key": 1}, "reads do not wait"
        with pytest.raises(StoreNotAvailableError, match="timeout"):
            Store(f"sqlite://{path}?timeout=0.1", "new namespace", frozen=False).open()
        other.execute("ROLLBACK")
        for write in writes:
            write(store)
        assert dict(store) == {"other": 2}
        assert store.range("series") == [(1, 2)]
        assert store.current("sequence") == {"n": 2}


_NEIGHBOUR = """
    import sys
    from rstore import Store

    with Store(sys.argv[1], sys.argv[2], frozen=False) as store:
        store['before'] = 1
        print('ready', flush=True)
        for line in sys.stdin:
            store[line.strip()] = 1
            print('done', flush=True)
"""


@pytest.mark.parametrize("namespace", ["default", "another"])
def test_discard_does_not_take_what_another_process_writes(tmp_path: Path, start: Start, namespace: str) -> None:
    path = tmp_path / "shared.db"
    neighbour = start(_NEIGHBOUR, path, namespace)
    assert neighbour.stdout is not None
    assert neighbour.stdout.readline() == "ready\n"
    with Store(path, frozen=False) as store:
        store["mine"] = 1
        store.discard()
    assert ask(neighbour, "after") == ["done"]
    with Store(path, namespace) as store:
        assert dict(store) == ({"after": 1} if namespace == "default" else {"before": 1, "after": 1})
    output(neighbour)
    with Store(path, namespace) as store:
        assert store["after"] == 1


# -- what users do -----------------------------------------------------------------------------------------------------


def test_a_value_of_100_megabytes_is_a_value_like_any_other(tmp_path: Path, key: str | None) -> None:
    value = random.Random(1).randbytes(1 << 20) * 100
    with Store(tmp_path / "huge.db", key=key, frozen=False) as store:
        store["huge"] = value
    with Store(tmp_path / "huge.db", key=key) as store:
        assert store["huge"] == value


_STREAM = """
    import resource, sys
    from rstore import Store

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    with Store(sys.argv[1], key=sys.argv[2] or None, frozen=False) as store:
        store.extend('warm', ((t, t) for t in range(10_000)))
        baseline = peak()
        store.extend('series', ((t, f'value {t}') for t in range(2_000_000)))
        extended = peak()
        count = sum(1 for _ in store.points('series'))
        print(count, extended - baseline, peak() - baseline)
"""


def test_two_million_points_go_in_and_out_in_bounded_memory(tmp_path: Path, start: Start, key: str | None) -> None:
    (line,) = output(start(_STREAM, tmp_path / "long.db", key or ""))
    count, extending, iterating = map(int, line.split())
    assert count == 2_000_000
    assert extending < 150, "MB above the baseline"
    assert iterating < 150, "MB above the baseline"


def test_a_frozen_store_refuses_to_write_before_the_value_is_even_dumped(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        store["key"] = 1
    with Store(tmp_path / "a.db") as store, pytest.raises(FrozenStoreError):
        store["key"] = lambda: "not to be pickled"
