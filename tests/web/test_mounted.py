"""The pages inside other applications."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from rstore import Store
from rstore.web import app


def fastapi(site: object) -> object:
    outer = FastAPI()
    outer.mount("/ad min/store", site)  # type: ignore[arg-type]
    return outer


def starlette(site: object) -> object:
    return Starlette(routes=[Mount("/ad min", Mount("/store", site))])  # type: ignore[arg-type]


@pytest.mark.parametrize("outer", [fastapi, starlette])
def test_links_and_files_are_found_below_the_path_of_the_mount(outer: object) -> None:
    with Store("memory://", frozen=False) as store:
        store["a//b"] = 1
        client = TestClient(outer(app(store)))  # type: ignore[operator]
        page = client.get("/ad%20min/store/default/?prefix=a//")
        assert page.status_code == 200
        for path in ("/ad%20min/store/default/kv/a/~3/b", "/ad%20min/store/~static/rstore.js", "/ad%20min/store/"):
            assert f'"{path}"' in page.text
            assert client.get(path).status_code == 200
        assert client.get("/ad%20min/store/default").url.raw_path == b"/ad%20min/store/default/"
        assert client.get("/default/").status_code == 404


def test_a_token_holds_below_the_path_of_the_mount() -> None:
    with Store("memory://", frozen=False) as store:
        client = TestClient(fastapi(app(store, token="t")))  # type: ignore[arg-type]
        assert client.get("/ad%20min/store/default/").status_code == 403
        assert client.get("/ad%20min/store/default/?token=t").status_code == 200
        assert client.get("/ad%20min/store/default/").status_code == 200
