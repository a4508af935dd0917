"""The glossary: its words are those that the source and the other pages use, and it leads to names that are there."""

from __future__ import annotations

import re
from pathlib import Path

import rstore

DOCS = Path(__file__).parents[2] / "docs"
PACKAGE = Path(rstore.__file__).parent
GLOSSARY = DOCS / "glossary.md"
ROWS = re.findall(r"^\| (\*\*.+?) \| (.+) \| (.+) \|$", GLOSSARY.read_text("utf-8"), re.MULTILINE)
WORDS = [word for words, _, _ in ROWS for word in re.findall(r"\*\*(.+?)\*\*", words)]
PLACES = [place for _, _, places in ROWS for place in re.findall(r"`(.+?)`", places)]

SOURCE = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*") if path.suffix in (".py", ".lua", ".sql"))
OTHER_PAGES = "\n".join(path.read_text("utf-8") for path in DOCS.rglob("*.md") if path != GLOSSARY)


def uses(text: str, word: str) -> bool:
    """Tell whether a text has a word, in prose or in a name: *time axis* is in ``TimeAxis`` and ``time_axis``."""
    return re.search(r"[\s_-]*".join(map(re.escape, word.split())), text, re.IGNORECASE) is not None


def is_there(place: str) -> bool:
    """Tell whether there is such a file, or whether all names in a call or expression are names of the source."""
    if place.startswith("rstore/"):
        return (PACKAGE.parent / place).exists()
    return all(re.search(rf"\b{name}\b", SOURCE) for name in re.findall(r"\w+", place))


def test_each_word_of_the_glossary_is_used() -> None:
    assert [word for word in WORDS if not uses(SOURCE, word) and not uses(OTHER_PAGES, word)] == []


def test_each_place_that_the_glossary_names_is_there() -> None:
    assert [place for place in PLACES if not is_there(place)] == []


def test_a_word_stands_in_the_glossary_once_and_is_explained_shortly() -> None:
    assert len(WORDS) == len(set(WORDS)) > 50
    assert not [words for words, meaning, _ in ROWS for sentence in meaning.split(". ") if len(sentence.split()) > 25]


def test_a_word_that_nobody_uses_and_a_place_that_is_gone_would_be_noticed() -> None:
    assert uses("class TimeAxis:", "time axis")
    assert not uses(SOURCE + OTHER_PAGES, "gravestone axis")
    assert not is_there("rstore/domain/gravestone.py")
    assert not is_there("Store.gravestone")
