"""A small transformer that foretells the next character of a text that ships with Python: its own help topics."""

from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn

import sweep

CONTEXT, BATCH_SIZE, WIDTH, NUM_CHARACTERS = 32, 16, 48, 60_000
VALID_BATCHES = 8


class Transformer(nn.Module):
    """Two layers of causal attention over the last CONTEXT characters."""

    def __init__(self, num_characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_characters, WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=4 * WIDTH, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, num_characters)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, text_BT: Tensor) -> Tensor:
        """Scores of the next character at each place, [B, T, characters]."""
        found: Tensor = self.head(self.layers(self.embedding(text_BT) + self.place, mask=self.mask, is_causal=True))
        return found


def train(config: dict[str, Any], run: sweep.Run) -> dict[str, float]:
    """Trains with AdamW; its settings are `lr` and `clip` (the largest gradient norm)."""
    torch.manual_seed(run.seed)
    text = "".join(topics[name] for name in sorted(topics))[:NUM_CHARACTERS]
    alphabet = sorted(set(text))
    codes = torch.tensor([alphabet.index(letter) for letter in text])
    split = int(0.9 * len(codes))
    run.references(labels=codes[:split])
    model = Transformer(len(alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    valid = torch.Generator().manual_seed(0)

    def batch_of(part: Tensor, generator: torch.Generator | None = None) -> Tensor:
        starts = torch.randint(len(part) - CONTEXT - 1, (BATCH_SIZE,), generator=generator)
        return torch.stack([part[start : start + CONTEXT + 1] for start in starts.tolist()])

    def loss_of(rows: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    def step(rows: Tensor) -> dict[str, Any]:
        loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config["clip"])
        optimizer.step()
        return {"loss": loss, "grad_norm": norm, "lr": config["lr"]}

    # It reports each step, and keeps what it takes to find out why one broke.
    train_batch = run.snapshot(step, model, optimizer)
    for _ in range(run.steps or 150):
        train_batch(batch_of(codes[:split]))
    model.eval()
    with torch.no_grad():
        losses = [loss_of(batch_of(codes[split:], valid)) for _ in range(VALID_BATCHES)]
    return {"val_loss": float(torch.stack(losses).mean())}
