"""python -m sweep.watch."""

import sys

from sweep.watch.command import main

if __name__ == "__main__":
    sys.exit(main())
