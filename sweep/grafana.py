"""python -m sweep.grafana > stability_sweep.json: prints the Grafana dashboard of the exported metrics."""

import argparse
import sys
from collections.abc import Sequence
from importlib import resources


def dashboard() -> str:
    """The dashboard as JSON, for Grafana's import."""
    return resources.files("sweep").joinpath("grafana.json").read_text(encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the dashboard; returns the exit code."""
    description = "Print a Grafana dashboard of the metrics that a run exports through Ray, as JSON to import."
    argparse.ArgumentParser(prog="python -m sweep.grafana", description=description).parse_args(arguments)
    print(dashboard(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
