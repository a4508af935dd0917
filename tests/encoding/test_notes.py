"""Notes: words in JSON, read as any program may have written them."""

from __future__ import annotations

import pytest

from rstore.encoding.notes import note_body, words_of

WORDS = {"who": "Zoë", "why": 'said "no"', "nested": {"a": [1, None, 2.5]}}


@pytest.mark.parametrize("around", [b"%b", b" \n%b\t", b"%b\n"])
def test_words_come_back_whatever_spaces_stand_around_them(around):
    assert words_of(around % note_body(WORDS).data) == WORDS


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}x", b'{"who":"ada"}{}', b'{"who":}', b"[]", b"null", b"\xff{}", b'{"a":\xff}']
)
def test_what_is_no_object_of_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r".+"):
        words_of(data)
