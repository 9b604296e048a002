"""python -m sweep.explain RESULTS TRIAL: says why a trial of a finished or running study went as it did."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slr_models.errors import UserError
from sweep import store
from sweep.command_line import tell_user_error
from sweep.forensics.sentences import where
from sweep.records import Explanation
from sweep.running.past_trial import explain_trial
from sweep.wording import number


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code (2 for a user's mistake)."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.explain",
        description="Say why a trial went as it did: what was first non-finite, and which single change rescues it. "
        "Trains it again where nothing cheaper tells, and says before how many steps that takes.",
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of a study, such as results/smoke"
    )
    parser.add_argument("trial", metavar="TRIAL", help="a trial's name as in the report, such as 0007")
    parser.add_argument("--json", action="store_true", help="print the explanation as JSON")
    options = parser.parse_args(arguments)
    try:
        path = explain_trial(options.results, options.trial)
        if options.json:
            print(path.read_text(encoding="utf-8"), end="")
        else:
            print(_for_a_person(options.results, path.parent.name))
    except UserError as error:
        return tell_user_error(error)
    return 0


def _for_a_person(results_dir: Path, trial_id: str) -> str:
    explanation = store.read_explanation(results_dir, trial_id)
    assert explanation is not None, "just written"
    return "\n".join([f"trial {trial_id}: {explanation.text}", *_evidence(explanation)])


def _evidence(explanation: Explanation) -> list[str]:
    lines = [f"  - {detail}" for detail in explanation.details]
    first = explanation.first_nonfinite
    if first is not None:
        lines.append(
            f"  first non-finite: {where(first)}; {first.num_nan} NaN and {first.num_inf} infinite values, "
            f"inputs up to {number(first.input_absmax)}"
        )
    if explanation.counterfactuals:
        lines.append(
            f"  replayed from step {explanation.snapshot_step or 0} ({explanation.num_replayed_steps} steps in all):"
        )
        width = max(len(c.change) for c in explanation.counterfactuals)
        for c in explanation.counterfactuals:
            lines.append(
                f"    {c.change:<{width}}  rescued {c.num_rescued} of {c.num_repeats}  end loss {number(c.end_loss)}"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
