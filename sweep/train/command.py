"""slr-sweep train RESULTS [TRIAL]: trains a setting of a finished study longer, and keeps its weights."""

import argparse

from sweep.command_line import EXIT_DONE, EXIT_FOUND, Command, add_results, loading


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument(
        "trial", nargs="?", metavar="TRIAL", help="a trial's name as in the report; default: what the study recommends"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="updates; default: four times those of the study")
    parser.add_argument(
        "--trust", action="store_true", help="run the code that the study names, although no run of yours has signed it"
    )


def _work(options: argparse.Namespace) -> int:
    with loading():
        import torch

        from sweep.train.chosen import chosen
        from sweep.train.longer import LongerTraining
        from sweep.wording import percent

    what = chosen(options.results, options.trial, options.steps, trust=options.trust)
    # As its trials were: a CPU's results depend on it.
    torch.set_num_threads(what.resources.cpus)
    folder = options.results / "trained" / what.name
    training = LongerTraining(what, folder)
    going_on = f", going on from step {training.step}" if training.step else ""
    print(f"training {what.name} for {what.steps} steps on the {what.device.type}{going_on}", flush=True)
    verdict = training.run(lambda line: print(line, flush=True))
    print(f"{verdict.outcome}: {verdict.reason}")
    if training.best is not None:
        step, wer = int(training.best["step"]), percent(training.best["wer"], 1)
        print(f"\n{training.model_path}: the weights of step {step}, with a WER of {wer}. To load them:\n")
        print("    from slr_models.models import load_model")
        print(f'    model, vocabulary = load_model("{training.model_path}")')
        print("    logits_BSV = model(features_BTF, lengths_B)  # features as the study's data source makes them")
    return EXIT_DONE if verdict.stable or verdict.outcome.is_open else EXIT_FOUND


COMMAND = Command(
    name="train",
    summary="train a setting longer, and keep its weights",
    description="Train the setting that a study recommends, or that of a trial, longer, and keep its weights. Ends "
    "where it diverges; the same command goes on after an interruption.",
    add_arguments=_add_arguments,
    work=_work,
    interrupted="interrupted: the same command goes on from the latest evaluation",
)
main = COMMAND.main
