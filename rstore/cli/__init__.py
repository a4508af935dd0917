"""The command ``rstore``."""
