"""An answer that a browser stores as a file."""

from __future__ import annotations

from attrs import frozen


@frozen
class Download:
    """A file: its name, its media type, and its text."""

    name: str
    media_type: str
    text: str
