"""The page on web applications, with the real frameworks: the changes of a request have the name of its user."""

from __future__ import annotations

import contextvars
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rstore import Store, StoreError

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "web.md"
SNIPPETS = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE))

# A client that needs no package: it calls an application as a server does.
CLIENT = '''
import asyncio, json


async def status_of(app, method, path, user, query=b""):
    """Send a request, in the lifespan of the application, and return the status."""
    sent, started, stopped = [], asyncio.Event(), asyncio.Event()
    async def receive_life():
        if not started.is_set():
            return {"type": "lifespan.startup"}
        await stopped.wait()
        return {"type": "lifespan.shutdown"}
    async def send_life(message):
        started.set()
    whole = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.create_task(app(whole, receive_life, send_life))
    await started.wait()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": query, "root_path": "", "scheme": "http", "state": {},
        "headers": [(b"host", b"shop"), *([(b"x-user", user.encode())] if user else [])],
        "client": ("127.0.0.1", 1), "server": ("shop", 80),
    }
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    try:
        await app(scope, receive, send)
    finally:
        stopped.set()
        await life
    return sent[0]["status"]
'''


def output_of(script: str, folder: Path) -> object:
    """Run a script after the snippets of the page, and return the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{SNIPPETS}\n{CLIENT}\n{script}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def authors_of(folder: Path, key: str) -> list[str | None]:
    with Store(folder / "shop.db") as store:
        return [change.who for change in store.history(key)]


def test_fastapi(tmp_path: Path) -> None:
    script = """
@api.put("/direct/{name}", dependencies=[Depends(user)])
async def direct(name: str):
    await asyncio.to_thread(store.set, f"direct/{name}", 1)

async def main():
    return [
        await status_of(api, "PUT", "/direct/book", "bob"),
        await status_of(api, "PUT", "/price/book", "ada", b"value=9"),
        await status_of(api, "PUT", "/price/book", None, b"value=8"),
        await status_of(api, "PUT", "/stock/book", "eve", b"value=7"),
    ]
print(json.dumps(asyncio.run(main())))
"""
    assert output_of(script, tmp_path) == [200] * 4
    assert authors_of(tmp_path, "direct/book") == ["bob"]
    assert authors_of(tmp_path, "price/book") == ["ada", "nobody"]
    assert authors_of(tmp_path, "stock/book") == ["eve"]


def test_a_dependency_that_is_no_coroutine_raises_a_store_error(tmp_path: Path) -> None:
    script = """
def wrong(x_user: str = Header()):
    with store.context(who=x_user):
        yield

bare = FastAPI(lifespan=opened)
@bare.put("/wrong", dependencies=[Depends(wrong)])
def put():
    store["wrong"] = 1

try:
    asyncio.run(status_of(bare, "PUT", "/wrong", "ada"))
except Exception as exc:
    print(json.dumps([type(exc).__name__, str(exc)]))
"""
    name, message = output_of(script, tmp_path)  # type: ignore[misc]
    assert name == "StoreError"
    assert "a context has to end where it began" in message
    assert authors_of(tmp_path, "wrong") == [None]


def test_flask(tmp_path: Path) -> None:
    script = """
with store:
    client = shop.test_client()
    found = [
        client.put("/price/book", json={"value": 9}, headers={"X-User": "ada"}).status_code,
        client.put("/price/book", json={"value": 8}).status_code,
    ]
    store["after the requests"] = 1
print(json.dumps(found))
"""
    assert output_of(script, tmp_path) == [204, 204]
    assert authors_of(tmp_path, "price/book") == ["ada", "nobody"]
    assert authors_of(tmp_path, "after the requests") == [None]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_django(tmp_path: Path, kind: str) -> None:
    script = f"""
import sys, types
import django
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

settings.configure(ROOT_URLCONF="urls", MIDDLEWARE=["urls.with_user"], ALLOWED_HOSTS=["*"], SECRET_KEY="-")
{kind} view(request):
    store["price/book"] = 9
    return HttpResponse(status=204)
sys.modules["urls"] = types.SimpleNamespace(urlpatterns=[path("price", view)], with_user=with_user)
django.setup()
with store:
    async def main():
        return (await AsyncClient().put("/price", headers={{"X-User": "eve"}})).status_code
    found = [Client().put("/price", headers={{"X-User": "ada"}}).status_code, asyncio.run(main())]
print(json.dumps(found))
"""
    assert output_of(script, tmp_path) == [204, 204]
    assert authors_of(tmp_path, "price/book") == ["ada", "eve"]


def test_a_context_that_ends_elsewhere_says_so() -> None:
    with Store("memory://", frozen=False) as store:
        block = store.context(who="ada")
        contextvars.copy_context().run(block.__enter__)
        with pytest.raises(StoreError, match="a context has to end where it began"):
            block.__exit__(None, None, None)
