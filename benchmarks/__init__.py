"""Measurements of rstore, each beside something else: ``python -m benchmarks.core``.

Without this file, the ``benchmarks`` of another installed package would hide the folder.
"""
