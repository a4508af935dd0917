"""How far something has come that takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Progress(NamedTuple):
    """How much is ``done`` of a ``total``, which is None if nobody knows it: records, or the pages of a file."""

    done: int
    total: int | None


Report: TypeAlias = Callable[[Progress], object]
"""Is told now and then how far something has come; what it raises ends that."""
