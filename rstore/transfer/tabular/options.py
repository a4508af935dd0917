"""How a table is written, where the table itself does not show it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from attrs import Attribute, field, frozen

from rstore.bins import named_zone

MISSING: Final = frozenset({"NA", "N/A", "n/a", "NULL", "null", "-", "#N/A"})
"""Cells that are no points in a column of numbers. In any other column they are texts."""

_DECIMALS: Final = (".", ",")
_THOUSANDS: Final = (",", ".", " ", "'", "\u2019", "\u00a0", "\u202f", "_")


def _one_of(*allowed: str) -> Any:
    def check(_: object, attribute: Attribute[Any], value: str | None) -> None:
        if value is not None and value not in allowed:
            raise ValueError(f"{attribute.name} is one of {', '.join(map(repr, allowed))}, not {value!r}")

    return check


def _check_delimiter(_: object, __: Attribute[Any], value: str | None) -> None:
    if value is not None and (len(value) != 1 or value in '"\r\n'):
        raise ValueError(f"delimiter is one character, and neither a quote nor a line end: not {value!r}")


def _check_zone(_: object, __: Attribute[Any], value: str | None) -> None:
    if value is not None:
        named_zone(value)


def _names(given: Collection[str] | None) -> frozenset[str] | None:
    return None if given is None else frozenset([given] if isinstance(given, str) else given)


def _texts(given: Collection[str]) -> frozenset[str]:
    return _names(given) or frozenset()


@frozen(kw_only=True)
class TableOptions:
    """How a table is written, where the table itself does not show it. All options may be left out.

    Args:
        delimiter: the character between cells (default: the one between the names of columns).
        header: whether the first record has the names of columns. If not, ``columns=`` of
            :func:`~rstore.transfer.import_points` names all of them, in their order.
        decimal: ``'.'`` or ``','`` (default: ``','`` if there are cells such as ``2,2`` between other delimiters).
        thousands: the mark between groups of digits, as in ``1,234,567`` (default: none).
        null: texts that mean an empty cell, in any column, even if quoted (default: ``NA``, ``N/A``, ``n/a``, ``NULL``,
            ``null``, ``-`` and ``#N/A``, in columns of numbers only).
        text: columns whose cells stay texts, whatever they look like.
        date_format: how times are written, as for :meth:`datetime.datetime.strptime`: ``'%m/%d/%Y %H:%M'``.
        zone: the time zone of times without an offset, such as ``'Europe/Berlin'``. New series get it.

    >>> TableOptions(decimal=',', null=['n.a.', '-999']).decimal
    ','
    >>> TableOptions(decimal=';')
    Traceback (most recent call last):
    ValueError: decimal is one of '.', ',', not ';'
    """

    delimiter: str | None = field(default=None, validator=_check_delimiter)
    header: bool = True
    decimal: str | None = field(default=None, validator=_one_of(*_DECIMALS))
    thousands: str | None = field(default=None, validator=_one_of(*_THOUSANDS))
    null: frozenset[str] | None = field(default=None, converter=_names)
    text: frozenset[str] = field(default=(), converter=_texts)
    date_format: str | None = None
    zone: str | None = field(default=None, validator=_check_zone)

    def __attrs_post_init__(self) -> None:
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"{self.decimal!r} can't both group thousands and begin decimals")
