"""Moving what is stored: between backends, as JSON Lines with all its history, and as points in tables.

========================= ==============================================================================================
:func:`copy`              a namespace with all its history to another backend, whatever interrupts it
:func:`digest`            a sum of what a namespace holds, equal for all its copies
:func:`export`, :func:`load`   the same history as a text file that people can read, and back, bit for bit
:func:`export_points`, :func:`import_points`   points of series to CSV and Parquet, and from anybody's, written as
                          :class:`TableOptions` say; :class:`Imported` tells what was done
========================= ==============================================================================================
"""

from __future__ import annotations

from rstore.progress import Progress
from rstore.transfer.copying import copy, digest
from rstore.transfer.digests import Digest
from rstore.transfer.jsonlines import export, load
from rstore.transfer.points import export_points
from rstore.transfer.tabular.importing import Imported, import_points
from rstore.transfer.tabular.options import TableOptions

__all__ = [
    "Digest",
    "Imported",
    "Progress",
    "TableOptions",
    "copy",
    "digest",
    "export",
    "export_points",
    "import_points",
    "load",
]
