"""The Lua scripts: whether servers take them, and whether they are still the ones that other versions run."""

from __future__ import annotations

from importlib.resources import files

import pytest

from rstore.adapters.redis import scripts
from rstore.adapters.redis.codec import EPOCH_SIZE, MAX_NUMBER
from rstore.adapters.redis.scripts import Script
from tests.support.servers import Valkey

# The SHA-1 of each: a server knows a script by it. Other versions of rstore run the same scripts on the same data.
DIGESTS = {
    "abort": "c879fb2bbce1dc248886142daebb860fcee25e66",
    "abort_if_open": "56114150e4332413b32e024de0f775caa85e8baa",
    "advance": "fff2c3191174a153852b81ffb93ee8be616ed02c",
    "begin": "63d188fb51ef675484cb66cc5122d9872d176f7e",
    "commit": "0d5863637df885127bf683882d278123d16b9f34",
    "create": "ea835cb4fafc3aae40ea02dd1b6aa73ff484f20b",
    "end": "d2d559780da66a1a6531eb1d42a04030a0a6e67b",
    "fence": "6c00d20d8d25fdb458992f92ba8934c190bac203",
    "newest": "8744c661e676feb84ac3130686d65317ce1e30d9",
    "prepare": "8f9b477e30f48f557a367221cdab0442e5619abe",
    "raise_high_water": "0f1e1592c45cd5d48859e2affe49fc9341346d84",
    "replay_each": "0ba65d293db77117fe10e83fb25bdfa6ae027e24",
    "sweep": "59ccb0d1c8c594bf9e78a8ee22bd1b4c4991e9bf",
    "write": "33062612e5f6a90542c6393565b202b1c306acc7",
    "write_spread": "9e50bae41c76d37a305e6a60a00f3047b0bc0f3f",
}
SCRIPTS = {each.name: each for each in vars(scripts).values() if isinstance(each, Script)}


def test_each_script_is_byte_for_byte_what_it_was() -> None:
    assert {name: script.sha.decode() for name, script in SCRIPTS.items()} == DIGESTS


def test_each_file_is_a_script_that_has_a_name_in_the_table() -> None:
    folder = files("rstore.adapters.redis").joinpath("lua")
    assert {each.name.removesuffix(".lua") for each in folder.iterdir() if each.is_file()} == SCRIPTS.keys()


def test_the_numbers_in_lua_are_those_in_python() -> None:
    assert f"local MOST, UNIT = {MAX_NUMBER}, {EPOCH_SIZE}\n".encode() in scripts.WRITE.source


@pytest.mark.server
def test_a_server_compiles_each_script_and_knows_it_by_its_digest() -> None:
    with Valkey.start() as server:
        for script in SCRIPTS.values():
            assert server.command("SCRIPT", "LOAD", script.source) == script.sha.decode()
