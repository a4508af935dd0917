"""Moving a namespace: to another backend, to JSON Lines with all its history, and its points to and from tables.

========================= ==============================================================================================
:func:`copy`              copies a namespace with all its history to another backend; it may be interrupted
:func:`digest`            returns a sum of the contents of a namespace, equal for all its copies
:func:`export`, :func:`load`   write the same history to a text file that people can read, and back, bit for bit
:func:`export_points`, :func:`import_points`   write points of series to CSV and Parquet, and read them from any table;
                          :class:`TableOptions` describe the table, :class:`Imported` is the result
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
