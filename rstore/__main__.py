"""``python -m rstore`` is the command ``rstore``."""

import sys

from rstore.cli import main

if __name__ == "__main__":
    sys.exit(main())
