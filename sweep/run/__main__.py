"""python -m sweep.run."""

import sys

from sweep.run.command import main

if __name__ == "__main__":
    sys.exit(main())
