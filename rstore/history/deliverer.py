"""A worker that delivers: it takes streams from the queue, several at a time, and hands out their messages in order."""

from __future__ import annotations

import contextvars
import os
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from threading import Lock
from typing import Any, Final

from attrs import Factory, define, frozen

from rstore.core import Core, now
from rstore.domain.errors import StoreConflictError, StorePayloadError
from rstore.domain.leases import Lease
from rstore.history.commits import Commit
from rstore.history.follow import LOOK_SECONDS, Pauses
from rstore.history.group_commit import GroupCommit
from rstore.history.handling import handling
from rstore.history.messages import Message, messages, page_of
from rstore.history.queue import Queue, StoredLease, milliseconds
from rstore.history.searcher import Searcher

_REST_LEAST: Final = 0.001
_REST_MOST: Final = 0.05
_TURN_MS: Final = 2_000
_ERROR_LENGTH: Final = 500
_PAUSE_MOST: Final = 300.0
_DOUBLINGS_MOST: Final = 30
_LOST: Final = "its worker was lost in each attempt: it was killed, or ended without an error"


@frozen
class Delivery:
    """A commit of a stream that is to be delivered.

    Attributes:
        kind, key: the stream, of kind ``kv``, ``ts`` or ``es``.
        commit: the changes that were stored together in that stream, in the order of the log, and their words.
        version: that of the last change.
        token: an idempotency key for the other side, 32 hexadecimal digits. It is the same at each attempt, and no
            other message has it.
        attempt: 1 at the first attempt.
    """

    kind: str
    key: str
    commit: Commit
    version: int
    token: str
    attempt: int


@frozen
class Rules:
    """How a delivery deals with messages: see :meth:`rstore.Store.deliver`. Times are in seconds."""

    attempts: int | None
    backoff: float
    lease: float

    def is_exhausted(self, lease: Lease) -> bool:
        """Tell whether the message in hand has had all its attempts."""
        return self.attempts is not None and lease.attempt >= self.attempts

    def after_failure(self, lease: Lease, error: str, at: int) -> Lease:
        """Return the lease after an attempt that failed at a time: it waits, or is parked."""
        if self.is_exhausted(lease):
            return lease.parked(error, at)
        doubled = self.backoff * 2.0 ** min(lease.attempt - 1, _DOUBLINGS_MOST)
        return lease.failed(error, at + milliseconds(min(doubled, _PAUSE_MOST)))


@define(eq=False)
class _Held:
    """A stream in the hands of a thread. The main thread renews its lease meanwhile, so a lock guards it."""

    queue: Queue
    log: GroupCommit
    stored: StoredLease
    delivered: int = 0
    lock: Lock = Factory(Lock)

    def put(self, lease: Lease) -> None:
        """Store the lease.

        Raises:
            StoreConflictError: another worker has it.
        """
        with self.lock:
            version = self.log.append([self.queue.batch(self.stored.stream, lease, self.stored.version)])[0]
            self.stored = self.stored._replace(lease=lease, version=version)

    def leave(self, lease: Lease, end: int | None) -> None:
        """Give the lease back. With ``end`` the stream leaves the queue, unless it is at a later version by now."""
        with self.lock:
            self.stored = self.stored._replace(lease=lease)
            if end is not None:
                # it conflicts if something was appended; or if the lease is lost, in which case the next append raises
                with suppress(StoreConflictError):
                    self.log.append(self.queue.removal(self.stored, end))
                    self.stored = self.stored._replace(is_due=False)
                    return
            self.log.append([self.queue.batch(self.stored.stream, lease, self.stored.version)])

    def renew(self, owner: str, until: int, before: int) -> None:
        """Prolong the lease if it ends before a time and has this owner. Else the thread has not taken it yet."""
        if self._lasts(owner, before):  # without the lock: the thread holds it while it stores, and this one has others
            return
        with self.lock:
            stream, lease, version, _ = self.stored
            if self._lasts(owner, before):
                return
            renewed = lease._replace(until=until)
            try:
                (version,) = self.log.append([self.queue.batch(stream, renewed, version)])
            except StoreConflictError:  # the thread will notice when it goes on
                return
            self.stored = self.stored._replace(lease=renewed, version=version)

    def _lasts(self, owner: str, before: int) -> bool:
        return self.stored.lease.owner != owner or self.stored.lease.until > before


@define(eq=False)
class Deliverer:
    """A worker of a delivery: some threads that call ``fn``, and the main thread, which searches and renews leases."""

    queue: Queue
    searcher: Searcher
    fn: Callable[[Delivery], Any]
    rules: Rules
    workers: int
    owner: str = Factory(lambda: f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}")
    running: dict[Future[int], _Held] = Factory(dict)
    candidates: deque[StoredLease] = Factory(deque)
    listing: Iterator[list[StoredLease]] = Factory(lambda: iter(()))
    look_at: int = 0
    rest: float = 0.0
    is_ending: bool = False

    @property
    def core(self) -> Core:
        """The core of the store."""
        return self.queue.core

    def run(self, pauses: Pauses) -> int:
        """Deliver all messages that are there, and those that come while it waits. Return their number."""
        self.searcher.begin()
        # workers of several processes begin at different places, so that they seldom want the same stream
        self.listing = self.queue.lease_pages(islice(self.queue.heads(), random.randint(0, self.queue.count()), None))  # noqa: S311
        context, log = contextvars.copy_context(), GroupCommit(self.core)
        done = 0
        with ThreadPoolExecutor(self.workers, "rstore-deliver") as threads:
            try:
                while True:
                    done += self._collect(pauses)
                    while len(self.running) < self.workers and (stored := self._next()) is not None:
                        held = _Held(self.queue, log, stored)
                        self.running[threads.submit(context.copy().run, self._turn, held)] = held
                    if self.running:
                        self._rest()
                    elif not self._pause(pauses):
                        return done
            finally:
                self.is_ending = True
                while self.running:
                    self._rest()
                    self.running = {future: held for future, held in self.running.items() if not future.done()}

    # -- the main thread ----------------------------------------------------------------------------------------------

    def _collect(self, pauses: Pauses) -> int:
        """Return how many messages the threads have delivered that are through with their streams."""
        ended = [future for future in self.running if future.done()]
        done = 0
        for future in ended:
            held = self.running.pop(future)
            done += future.result()
            if held.stored.is_due:  # it stays in the queue, with a new lease
                self.searcher.queue_changed = True
        if done:
            pauses.restart()
            self.rest = 0.0
        return done

    def _pause(self, pauses: Pauses) -> bool:
        """Pause until there may be something to deliver, and return whether to look again.

        Appends of other workers end a pause, and seldom bring anything for this one. So it rests longer after each.
        """
        most, began = min(max((self.look_at - now()) / 1000, _REST_LEAST), LOOK_SECONDS), time.monotonic()
        if not pauses.pause(self.core.base, self.searcher.position, most):
            return False
        is_quiet = time.monotonic() - began >= most
        self.rest = 0.0 if is_quiet else min(max(2 * self.rest, _REST_LEAST), _REST_MOST)
        time.sleep(self.rest)
        return True

    def _rest(self) -> None:
        """Wait until a thread is through, not too long, and renew the leases that run out."""
        wait(self.running, _REST_MOST, FIRST_COMPLETED)
        at, length = now(), milliseconds(self.rules.lease)
        for held in self.running.values():
            held.renew(self.owner, at + length, before=at + length * 2 // 3)

    def _next(self) -> StoredLease | None:
        """Return a stream that is free, as far as one can tell without asking for its lease again; None if none is."""
        held = {each.stored.stream for each in self.running.values()}
        while True:
            while self.candidates:
                candidate = self.candidates.popleft()
                if candidate.stream not in held:
                    return candidate
            if not self._has_listed():
                return None

    def _has_listed(self) -> bool:
        """List free streams of the queue, and search the log where it has none. Return whether there are any."""
        while True:
            if self._has_page():
                return True
            more = self.searcher.search()
            if self.searcher.queue_changed or now() >= self.look_at:
                self.searcher.queue_changed, self.look_at = False, now() + milliseconds(self.rules.lease)
                self.listing = self.queue.lease_pages(self.queue.heads())
                if self._has_page():
                    return True
            if not more:
                return False

    def _has_page(self) -> bool:
        """Go on in the list up to a page with free streams. Note when the next of the others is free."""
        for page in self.listing:
            at = now()
            states = [(each, each.lease.state(at)) for each in page]
            later = (each.lease.until for each, state in states if state in ("leased", "waiting"))
            self.look_at = min([self.look_at, *later])
            self.candidates.extend(each for each, state in states if state == "due")
            if self.candidates:
                random.shuffle(self.candidates)
                return True
        return False

    # -- a thread -----------------------------------------------------------------------------------------------------

    def _turn(self, held: _Held) -> int:
        """Deliver messages of a stream, and return how many. It ends where another worker has taken the lease."""
        (fresh,) = self.queue.leases([held.stored.stream])
        if not self.is_ending and fresh is not None and fresh.version == held.stored.version:
            with suppress(StoreConflictError):
                self._deliver(held)
        return held.delivered

    def _deliver(self, held: _Held) -> None:
        """Deliver messages in order. Each is begun, and each is done, when that is stored."""
        stream, lease, *_ = held.stored
        page = page_of(self.core, stream, lease.cursor)
        ahead, stop = messages(self.core, stream, page, lease.last), now() + _TURN_MS
        message = next(ahead, None)
        if message is None:
            held.leave(lease.passed(), page.end)
        elif message.last == lease.last and self.rules.is_exhausted(lease):  # its worker was killed in the last one
            held.put(lease.parked(lease.error or _LOST, now()))
            return
        else:
            held.put(self._taken(lease, message))
        while message is not None:
            error = self._attempt(held, message)
            if error is not None:
                held.put(self.rules.after_failure(held.stored.lease, error, now()))
                return
            message, passed = next(ahead, None), held.stored.lease.passed()
            if message is not None and not self.is_ending and now() < stop:
                held.put(self._taken(passed, message))
            else:
                held.leave(passed, None if message is not None or page.more else page.end)
                message = None
            held.delivered += 1

    def _taken(self, lease: Lease, message: Message) -> Lease:
        return lease.taken(message.last, self.owner, now() + milliseconds(self.rules.lease))

    def _attempt(self, held: _Held, message: Message) -> str | None:
        """Call the function with a message, and return its error."""
        (kind, key), lease, *_ = held.stored
        token = message.token(self.searcher.identity, held.stored.stream)
        changes, is_last = message.commit.changes, self.rules.is_exhausted(lease)
        try:
            with handling(self.core, "delivery", self.queue.name, changes, lease.attempt, is_last=is_last):
                if message.error is not None:
                    raise message.error
                self.fn(Delivery(kind, key, message.commit, message.last, token, lease.attempt))
        except Exception as exc:  # whatever the user's function raises is a failed attempt
            return error_text(exc)
        return None


def error_text(error: Exception) -> str:
    """Return an error as it is kept: its type, and its text or reason.

    >>> error_text(ConnectionError('no route'))
    'ConnectionError: no route'
    """
    try:
        text = error.reason if isinstance(error, StorePayloadError) else str(error)
    except Exception:  # whatever a user's own error does
        text = ""
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line[:_ERROR_LENGTH].encode("utf-8", "replace").decode()
