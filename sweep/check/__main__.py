"""python -m sweep.check."""

import sys

from sweep.check.command import main

if __name__ == "__main__":
    sys.exit(main())
