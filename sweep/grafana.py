"""python -m sweep.grafana > stability_sweep.json: prints the Grafana dashboard of the exported metrics."""

import argparse
import sys

from sweep.command_line import EXIT_DONE, Command


def dashboard() -> str:
    """The dashboard as JSON, for Grafana's import."""
    from importlib import resources

    return resources.files("sweep").joinpath("grafana.json").read_text(encoding="utf-8")


def _work(_options: argparse.Namespace) -> int:
    print(dashboard(), end="")
    return EXIT_DONE


COMMAND = Command(
    name="grafana",
    summary="print a Grafana dashboard of the metrics that a run exports",
    description="Print a Grafana dashboard of the metrics that a run exports through Ray, as JSON to import.",
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
