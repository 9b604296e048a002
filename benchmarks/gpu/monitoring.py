"""Part 4: what watching a training costs, and whether it makes the host wait for the GPU.

The loops, their clock and the count of waits are those of `benchmarks.speed.monitor_cost`, which counts with torch's
own debug mode (`torch.cuda.set_sync_debug_mode`). torch's CTC loss waits by itself, so what counts is what the monitor
adds.
"""

import torch

from benchmarks.gpu.part import Keep, run
from benchmarks.gpu.results import MonitorRun
from benchmarks.gpu.settings import Scale
from benchmarks.speed.monitor_cost import BARE, BARE_MONITORED, TOOL, TOOL_MONITORED, compare

LEARNING_RATE = 1e-4
CASES = (("baseline", "fp16"), ("teacher", "fp16"), ("baseline", "fp32"))
"""The cheapest step first: of it a call is the largest share."""
UNWATCHED = {BARE_MONITORED: BARE, TOOL_MONITORED: TOOL}


def measure(device: torch.device, scale: Scale, keep: Keep) -> None:
    """A row a loop."""
    dataset = scale.data.build()
    for model, precision in CASES:
        config = scale.config(model, scale.width, {"kind": precision}, LEARNING_RATE)
        costs = compare(config, dataset, device, scale.monitored_steps)
        for loop, cost in costs.items():
            waits = cost.waits_per_step
            unwatched = costs[UNWATCHED[loop]].waits_per_step if loop in UNWATCHED else None
            keep(
                MonitorRun(
                    model=model,
                    precision=precision,
                    loop=loop,
                    step_ms=1e3 * cost.step_s,
                    monitor_us=None if cost.call_s is None else 1e6 * cost.call_s,
                    monitor_share=cost.call_share,
                    waits_per_step=waits,
                    added_waits=None if waits is None or unwatched is None else waits - unwatched,
                )
            )


if __name__ == "__main__":
    run(measure)
