"""The command line as a module: ``python -m lanner``."""

import sys

from lanner.commands import main

if __name__ == "__main__":
    sys.exit(main())
