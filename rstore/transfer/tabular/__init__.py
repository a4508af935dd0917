"""Tables of anybody's, read as series: how text is cut into cells, and what the cells mean.

=============== ========================================================================================================
``records``     text into records of cells: delimiters, quotes, lines
``numerals``    cells that are numbers, and how a text is written so that it is not read as one
``clocks``      cells that are times: integers, dates in the forms that people write
``times``       columns of times: how one writes its dates; ``zones``: where clocks are put forward and back
``kinds``       what a column holds, decided once for all its cells
``sheets``      a whole table, of CSV or Parquet, block by block
``layouts``     which cells belong to which series
``duplicates``  two rows of one time, found in bounded memory
``importing``   all of it together: :func:`~rstore.transfer.import_points`
=============== ========================================================================================================
"""
