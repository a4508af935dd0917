"""Memory for the numbers of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

_ALIGN: Final = 64  # bytes


class Room:
    """Memory for many arrays, in large blocks: the system clears these 2 MB at a time, and others 4 KB at a time.

    To clear it 4 KB at a time took a third of the time of a frame of ten million numbers.

    Args:
        most: the bytes of the largest block. The first has the size that is asked for, and each has twice that of the
            one before.
    """

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._left: Any = np.empty(0, np.uint8)

    def joined(self, arrays: Sequence[Any]) -> Any:
        """Return arrays of one type, one after the other, in memory that the caller may change."""
        if len(arrays) == 1 and arrays[0].flags.writeable:
            return arrays[0]
        rows, dtype = sum(map(len, arrays)), arrays[0].dtype
        size = rows * dtype.itemsize
        whole = size + -size % _ALIGN
        if len(self._left) < whole:
            self._size = max(whole, min(2 * self._size, self._most))
            self._left = np.empty(self._size, np.uint8)
        block, self._left = self._left[:size], self._left[whole:]
        return np.concatenate(arrays, out=block.view(dtype))
