"""The files that come with the pages."""

from __future__ import annotations

from importlib.resources import files

from rstore.web.site import PAGES

STATIC = files("rstore.web") / "static"


def test_our_script_stays_small() -> None:
    assert len((STATIC / "rstore.js").read_bytes()) < 15 * 1024


def test_what_is_not_ours_comes_with_its_licence() -> None:
    assert "Leon Sorokin" in (STATIC / "uplot" / "LICENSE").read_text("utf-8")
    assert "leeoniya/uPlot (v1.6.32)" in (STATIC / "uplot" / "uPlot.iife.min.js").read_text("utf-8")[:100]


def test_each_page_has_a_template() -> None:
    names = {page.__module__.rpartition(".")[2] for page in PAGES.values()} | {"namespaces"}
    for name in names:
        assert (files("rstore.web") / "templates" / f"{name}.html").is_file()
