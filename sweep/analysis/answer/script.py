"""The recommended training step as a program: `snippet` with something to train, so that it runs as it stands."""

from collections.abc import Mapping
from typing import Any

from sweep.analysis.answer.snippet import snippet

_MADE_UP = '''
# What follows is made up, so that this file runs by itself. Put your own model, batches and loss in its place.
NUM_FEATURES, NUM_LABELS, FRAMES_PER_LABEL = 16, 8, 6


def made_up_batches(seed):
    """Batches of sequences in which each label is a pattern of features, held for some frames, with noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(NUM_LABELS + 1, NUM_FEATURES, generator=torch.Generator().manual_seed(0))
    while True:
        labels = torch.randint(1, NUM_LABELS + 1, ({batch_size}, 4), generator=generator)
        clean = patterns[labels].repeat_interleave(FRAMES_PER_LABEL, dim=1)
        yield clean + 0.3 * torch.randn(clean.shape, generator=generator), labels


def made_up_loss(model, batch):
    features, labels = (part.to(next(model.parameters()).device) for part in batch)
    logits = model(features).float(){normalized}
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    frames, letters = torch.full((len(labels),), len(log_probs)), torch.full((len(labels),), labels.shape[1])
    return torch.nn.functional.ctc_loss(log_probs, labels, frames, letters)
{evaluation}

if __name__ == "__main__":
    max_steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    hidden = 64
    model = torch.nn.Sequential(
        torch.nn.Linear(NUM_FEATURES, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, NUM_LABELS + 1)
    ).to(device)

    def report(step, loss, lr):
        if step % max(max_steps // 10, 1) == 0 or step == max_steps:
            print(f"step {{step}} of {{max_steps}}: loss {{loss:.4f}} nats a label, learning rate {{lr:.4g}}")

    train(
        model, made_up_batches(1), made_up_loss, max_steps,
        {evaluated}device=device, report=report,
    )
'''
_EVALUATION = """

def made_up_evaluation(model):
    with torch.no_grad():
        return made_up_loss(model, next(made_up_batches(2))).item()
"""
_NORMALIZED = {
    "once": "",
    "log_softmax_twice": ".log_softmax(-1)",
    "softmax_then_log_softmax": ".softmax(-1)",
}


def script(training: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Python source that needs torch alone: `python recipe.py [STEPS]` trains a small network on made-up sequences.

    Args:
        training: as `snippet` takes it.
        model: likewise.

    Raises:
        KeyError: a kind or a field is unknown here.
    """
    is_evaluated = training["schedule"]["kind"] == "plateau"
    every = "" if training.get("eval_every_steps") else "eval_every_steps=20, "
    made_up = _MADE_UP.format(
        batch_size=training["batch_size"],
        normalized=_NORMALIZED[training.get("normalization", "once")],
        evaluation=_EVALUATION if is_evaluated else "",
        evaluated=f"evaluate=made_up_evaluation, {every}" if is_evaluated else "",
    )
    usage = "# Run it as it stands: python recipe.py [STEPS]\nimport sys\n"
    return f"{usage}\n{snippet(training, model)}\n{made_up}"
