"""python -m sweep.status."""

import sys

from sweep.status.command import main

if __name__ == "__main__":
    sys.exit(main())
