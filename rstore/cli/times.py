"""Times as users type them: the command tells of one that comes twice in the local time zone."""

from __future__ import annotations

from functools import cache, partial

from rstore.cli import streams
from rstore.text import times


@cache  # once for each time, however often it is parsed
def _warn_of_ambiguity(taken: str, other: str) -> None:
    streams.print_error(f"rstore: that time comes twice here, and {taken} is taken: for the other, say {other}")


parse_time = partial(times.parse_time, tell=_warn_of_ambiguity)
parse_recorded = partial(times.parse_recorded, tell=_warn_of_ambiguity)
