"""Stand-ins on PATH by which job scripts start a real Ray on loopback, and this copy of the program; a study for it."""

import sys

STAND_INS = {
    "slr-sweep": f'exec {sys.executable} -m sweep "$@"',
    # Where Ray believes that it is on no Linux, it joins what listens on loopback.
    "python": "[[ $1 == *wait_for_nodes.py ]] && export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0\n"
    f'exec {sys.executable} "$@"',
    "ray": f'exec {sys.executable} -c "$RAY_ON_LOOPBACK" "$@"',
}
RAY_ON_LOOPBACK = """
from ray._private import services
# In place of an address that other machines reach.
services.get_node_ip_address = lambda *_: "127.0.0.1"
services.resolve_ip_for_localhost = lambda host: host
from ray.scripts.scripts import main
main()
"""
"""A variable of the environment."""


def study(trials: int) -> str:
    """A study of so many short trainings."""
    return f"""
name: tiny
model: {{kind: baseline, width: 0.0625, norm: group}}
data: {{kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}}
training: {{batch_size: 4, eval_every_steps: 10}}
space: {{training.optimizer.lr: {{loguniform: [1e-3, 1e-1]}}}}
search: {{kind: random}}
budget: {{trials: {trials}, steps: 20}}
confirm: {{settings: 0, recommended: false}}
forensics: {{trials: 0}}
"""
