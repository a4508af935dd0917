"""The command that shows a store in the browser, as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from rstore import JsonStore, Store
from tests.conftest import KEY
from tests.support.command import COMMAND, fail

Ask = Any


@contextmanager
def served(*words: str) -> Iterator[tuple[str, Ask]]:
    """Run the command, and yield the address that it prints and a function that asks for a path of it."""
    server = subprocess.Popen([*COMMAND, "serve", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()  # type: ignore[union-attr]
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        opener.open(url, timeout=30).read()

        def ask(path: str) -> Any:
            with opener.open("/".join(url.split("/")[:3]) + path, timeout=30) as answer:
                return json.load(answer)

        yield url, ask
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=30)
        assert (server.returncode, said.splitlines()[1:]) == (130, [])
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def file(tmp_path: Path) -> str:
    name = str(tmp_path / "a.db")
    with Store(name, frozen=False) as store:
        store["pin"] = {1234}
        store.extend("price", (1, 1.5), (2, 2.5))
    with Store(name, "other/..", frozen=False) as store:
        store["a"] = 1
    return name


def test_it_shows_all_namespaces_and_says_where(file: str) -> None:
    with served("--dsn", file, "--namespace", "other/..") as (url, ask):
        assert "/other~1../?token=" in url
        assert [each["name"] for each in ask("/.json")["namespaces"]] == ["default", "other/.."]
        assert ask("/default/.json")["items"][0]["name"] == "pin"
        with pytest.raises(HTTPError, match="403"):
            urllib.request.urlopen(url.split("?")[0], timeout=30)


def test_it_unpickles_nothing_unless_it_is_told_to(file: str) -> None:
    with served("--dsn", file) as (_, ask):
        assert "--allow-pickle" in ask("/default/kv/pin.json")["value"]["unreadable"]
    with served("--dsn", file, "--allow-pickle") as (_, ask):
        assert ask("/default/kv/pin.json")["value"] == {"type": "set", "value": {"repr": "{1234}"}}


def test_values_in_json_need_nothing(tmp_path: Path) -> None:
    with JsonStore(tmp_path / "a.db", key=KEY, frozen=False) as store:
        store["pin"] = [1234]
    (tmp_path / "keys").write_text(KEY)
    words = ("--dsn", str(tmp_path / "a.db"), "--key-file", str(tmp_path / "keys"))
    with served(*words) as (_, ask):
        assert ask("/default/kv/pin.json")["value"] == {"type": "list", "value": [1234]}


def test_a_port_that_is_taken_or_a_store_that_is_not_there_is_an_error(file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"can't listen at 127.0.0.1:{port}" in fail("serve", "--dsn", file, "--port", port, code=3)
    assert "no namespace 'nothing'" in fail("serve", "--dsn", file, "--namespace", "nothing", code=3)


def test_another_name_of_the_server_is_answered_if_it_is_said(file: str) -> None:
    with served("--dsn", file, "--name", "Shop.example") as (url, _):
        for host, status in (("shop.example", 303), ("shop.example:443", 303), ("evil.example", 403)):
            connection = HTTPConnection(url.split("/")[2], timeout=30)
            connection.request(
                "GET", url.partition("/default")[1] + url.partition("/default")[2], headers={"Host": host}
            )
            assert connection.getresponse().status == status
            connection.close()
