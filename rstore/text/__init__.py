"""Values, times and changes as people type and read them: in a terminal, and in a browser.

================ ======================================================================================
``values``       a value in one line, and back
``times``        moments: ``3 days ago``, ``2026-11-01 09:00``
``units``        the units of a series' timestamps
``changes``      changes of items: ``balance+=5``
``describe``     a line for each change of the log
``cells``        the cells of a query's result
================ ======================================================================================
"""
