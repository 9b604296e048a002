"""python -m sweep.grafana > stability_sweep.json: prints the Grafana dashboard of the exported metrics."""

from importlib import resources


def dashboard() -> str:
    """The dashboard as JSON, for Grafana's import."""
    return resources.files("sweep").joinpath("grafana.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(dashboard(), end="")
