"""python -m sweep.report."""

import sys

from sweep.report.command import main

if __name__ == "__main__":
    sys.exit(main())
