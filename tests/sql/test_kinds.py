"""Values as texts of JSON: what a class raises while it is shown."""

from __future__ import annotations

import pytest

from rstore.domain.errors import StoreError
from rstore.sql.kinds import json_text


class Raises:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    assert json_text(Raises(KeyError("x"))) == '{"repr":"<Raises>"}'


@pytest.mark.parametrize("error", [StoreError("the server is gone"), MemoryError()])
def test_an_error_of_a_store_or_of_the_process_is_not_one_of_the_value(error: Exception) -> None:
    with pytest.raises(type(error)):
        json_text(Raises(error))
