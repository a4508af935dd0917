"""Reading tables of any origin as series: how text is cut into cells, and what the cells mean.

=============== ========================================================================================================
``records``     text into records of cells: delimiters, quotes, lines
``numerals``    cells that are numbers, and how a text is written so that it stays a text
``clocks``      cells that are times: integers, and dates in the forms that people write
``times``       columns of times, and the form of their dates; ``zones``: where clocks are put forward and back
``kinds``       the type of a column, decided by all its cells
``table``       a whole table, of CSV or Parquet, block by block
``layouts``     which cells belong to which series
``duplicates``  two rows with the same time, found in bounded memory
``importing``   the import itself: :func:`~rstore.transfer.import_points`
=============== ========================================================================================================
"""
