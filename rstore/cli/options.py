"""Options of commands as the fields of frozen classes: a field is declared once, and typer shows it as an option."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Annotated, Any, Final, TypeVar, cast, get_type_hints

import typer
from attrs import field, fields

_INFO: Final = "option"

T = TypeVar("T")


def option(*names: str, help: str, panel: str | None = None, default: Any = None) -> Any:  # noqa: A002  # typer's name
    """Declare a field of a frozen class to be an option."""
    return field(default=default, metadata={_INFO: typer.Option(*names, help=help, rich_help_panel=panel)})


def flag(name: str, *, help: str, panel: str | None = None) -> Any:  # noqa: A002
    """Declare a field of a frozen class to be an option without a value."""
    return option(name, help=help, panel=panel, default=False)


@cache  # each start declares some 30 commands, and reading annotations takes a millisecond
def parameters_of(options: type) -> list[inspect.Parameter]:
    """Return a keyword parameter for each field of a class that is an option."""
    hints = get_type_hints(options)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=Annotated[hints[each.name], each.metadata[_INFO]],
        )
        for each in fields(options)
        if _INFO in each.metadata
    ]


def taken_from(given: dict[str, Any], options: type[T]) -> T:
    """Remove the options of a class from all that were typed, and return them as a value of that class."""
    names = [each.name for each in parameters_of(cast("Any", options))]
    return options(**{name: given.pop(name) for name in names})
