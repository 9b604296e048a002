"""The report of a study: one HTML file that opens offline. Needs neither torch, Ray nor Optuna."""

from pathlib import Path

__all__ = ["build_report"]


def build_report(results_dir: Path) -> Path:
    """Writes `report.html` into a results folder, of a finished, running or nearly empty study.

    Raises:
        ResultsError: the folder is not the results folder of a study.
        OSError: the file cannot be written.
    """
    # Imported here: pandas, Plotly and scikit-learn take seconds that `python -m sweep.report --help` has no use for.
    from sweep import store
    from sweep.report.contents.view import load_view
    from sweep.report.page import render

    path = results_dir / "report.html"
    store.write_text(path, render(load_view(results_dir)))
    return path
