"""What tests of several models watch."""

from __future__ import annotations

from typing import Any

import pytest

from rstore.domain.log import Record
from rstore.domain.streams import Stream
from rstore.encoding.envelope import Envelope


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first times of the segments whose points were loaded, in the order of the loads."""
    starts, run = list[int](), Envelope.run

    def noted(self: Envelope, stream: Stream, record: Record, *args: Any, **options: Any) -> Any:
        starts.append(record.start)
        return run(self, stream, record, *args, **options)

    monkeypatch.setattr(Envelope, "run", noted)
    return starts
