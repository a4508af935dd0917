"""Stands for a value that cannot be read, and says why."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Final

from attrs import frozen

_ON_A_MODULE: Final = re.compile(
    r"Can't get attribute '(?P<name>[\w.<>]{1,200})' on <module '(?P<module>[\w.]{1,200})'"
)
_DOTTED: Final = re.compile(r"[\w.]{1,200}")


@frozen
class Unreadable:
    """A value that cannot be read, as :meth:`Store.log`, ``history`` and ``follow`` show it. A read of it raises.

    Attributes:
        reason: why: a module is missing, the value is damaged, or another key encrypted it.
        error: the name of the error that a read raises, such as ``StorePayloadError``.

    >>> Unreadable("there is no module 'shop' here", 'StorePayloadError').error
    'StorePayloadError'
    """

    reason: str
    error: str


def why_unloadable(exc: Exception) -> str:
    """Return why loading failed: the missing module or class, or else only the error's type.

    The messages of other errors may hold the value.

    >>> why_unloadable(ModuleNotFoundError("No module named 'shop'", name='shop'))
    "there is no module 'shop' here: install it, or import what stands for it, and read again"
    >>> why_unloadable(ValueError('secret'))
    'loading it failed with ValueError'
    """
    if isinstance(exc, ModuleNotFoundError) and exc.name and _DOTTED.fullmatch(exc.name):
        return f"there is no module {exc.name!r} here: install it, or import what stands for it, and read again"
    found = _missing_name(exc)
    if found is not None:
        name, module = found
        return f"there is no {name!r} in the module {module!r}: put it, or what stands for it, there and read again"
    return f"loading it failed with {type(exc).__name__}"


def _missing_name(exc: Exception) -> tuple[str, str] | None:
    """Return the name that pickle did not find, and the module in which it looked."""
    if not isinstance(exc, AttributeError):
        return None
    if isinstance(exc.obj, ModuleType) and exc.name:
        return exc.name, exc.obj.__name__
    found = _ON_A_MODULE.match(str(exc))
    return (found["name"], found["module"]) if found else None
