"""The name of :mod:`rstore.admin.check` up to this release: import that instead."""

from rstore.admin.check import check, info

__all__ = ["check", "info"]
