"""python -m sweep.train."""

import sys

from sweep.train.command import main

if __name__ == "__main__":
    sys.exit(main())
