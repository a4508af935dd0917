"""Which requests are answered, and which get nothing."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from rstore import Store
from rstore.web import app

BASE = "http://127.0.0.1:8000"
TOKEN = "a secret"


@pytest.fixture
def guarded(memory_store: Store) -> TestClient:
    return TestClient(app(memory_store, token=TOKEN, hosts=("127.0.0.1", "localhost", "[::1]")), base_url=BASE)


@pytest.fixture
def memory_store() -> Store:
    store = Store("memory://", frozen=False).open()
    store["price"] = 10
    return store


def test_nobody_gets_anything_without_the_token(guarded: TestClient) -> None:
    for path in ("/", "/default/", "/default/kv/price.json", "/~static/rstore.js", "/default/?token=wrong"):
        answer = guarded.get(path)
        assert (answer.status_code, "rstore serve" in answer.text) == (403, True), path


def test_a_browser_that_has_shown_the_token_needs_it_no_more_and_does_not_show_it_again(guarded: TestClient) -> None:
    answer = guarded.get(f"/default/?prefix=p&token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/default/?prefix=p")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=lax" in answer.headers["set-cookie"]
    assert guarded.get("/default/kv/price").status_code == 200
    assert TOKEN not in guarded.get("/default/kv/price").text


def test_a_cookie_of_another_port_does_not_hide_that_of_this_one(memory_store: Store) -> None:
    site = app(memory_store, token=TOKEN)
    client = TestClient(site, base_url=BASE)
    client.get(f"/?token={TOKEN}")
    assert [cookie.name for cookie in client.cookies.jar] == ["rstore-8000"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "localhost.", "", "127.0.0.1:8000:1"])
def test_a_page_that_lets_its_own_name_point_here_gets_nothing(guarded: TestClient, host: str) -> None:
    guarded.get(f"/?token={TOKEN}")
    answer = guarded.get("/default/kv/price", headers={"host": host})
    assert answer.status_code == 403
    assert "no name of this server" in answer.text


@pytest.mark.parametrize("host", ["localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1"])
def test_all_names_of_this_machine_are_answered(guarded: TestClient, host: str) -> None:
    answer = guarded.get(f"/default/?token={TOKEN}", headers={"host": host}, follow_redirects=False)
    assert answer.status_code == 303


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8001", "http://127.0.0.1:8001"])
def test_a_page_of_another_origin_gets_nothing(guarded: TestClient, origin: str) -> None:
    guarded.get(f"/?token={TOKEN}")
    assert guarded.get("/default/kv/price.json", headers={"origin": origin}).status_code == 403
    assert guarded.get("/default/kv/price.json", headers={"origin": BASE}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_no_request_can_write(guarded: TestClient, memory_store: Store, method: str) -> None:
    guarded.get(f"/?token={TOKEN}")
    answer = guarded.request(method, "/default/kv/price", content=b"11")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert memory_store["price"] == 10


def test_every_answer_forbids_scripts_of_others_and_frames(guarded: TestClient) -> None:
    refused = guarded.get("/")
    guarded.get(f"/?token={TOKEN}")
    paths = ("/", "/default/", "/default/kv/price", "/nothing/", "/~static/rstore.css", "/~static/none")
    for answer in (refused, *map(guarded.get, paths)):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_head_gets_no_body(guarded: TestClient) -> None:
    guarded.get(f"/?token={TOKEN}")
    assert guarded.head("/default/").status_code == 200
    assert guarded.head("/default/").content == b""


def test_an_application_without_token_and_hosts_leaves_that_to_where_it_is_mounted(memory_store: Store) -> None:
    answer = TestClient(app(memory_store), base_url="http://shop.example").get("/default/kv/price.json")
    assert answer.json()["value"] == {"type": "int", "value": 10}
