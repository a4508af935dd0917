"""A module for each page: ``page(asked)`` returns a frozen model, which the template of the same name shows."""
