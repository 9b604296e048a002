"""python -m sweep.init."""

import sys

from sweep.init.command import main

if __name__ == "__main__":
    sys.exit(main())
