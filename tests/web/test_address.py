"""Every namespace and every key has a path of its own, whatever its characters."""

from __future__ import annotations

from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rstore.web.address import STATIC, Address, address_of

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
odd = st.lists(st.sampled_from(["", ".", "..", "~", "~0", "/", "//", ".json", "%2F", "?", "#", "\\", "a", "é", "😀"]))


@given(names.filter(bool) | odd.map("".join).filter(bool), st.sampled_from(["", "kv"]), odd.map("".join) | names)
@example("..", "kv", "..")
@example("a", "kv", "x.json")
@example("~static", "kv", "")
@example("a\nb", "kv", "\n")
def test_a_path_leads_back_to_what_it_was_made_of(namespace: str, page: str, key: str) -> None:
    for is_json in (False, True):
        address = Address(namespace, page, key if page else None, is_json)
        # what a browser makes of a link, and a server of a request
        path = urlsplit(urljoin("http://host/some/page", address.path)).path
        assert path == address.path
        assert address_of(unquote(path)) == address
        assert path.split("/")[1] != STATIC
        assert "\n" not in unquote(path)
        assert not {".", "..", "%2e", "%2E"} & set(path.split("/"))


def test_the_first_page_has_a_path() -> None:
    assert (Address().path, Address(is_json=True).path) == ("/", "/.json")
    assert address_of("/") == Address()
    assert address_of("/.json") == Address(is_json=True)


def test_an_unknown_escape_is_the_path_of_no_page() -> None:
    with pytest.raises(LookupError, match="'~9' is no escape"):
        address_of("/default/kv/a~9")
