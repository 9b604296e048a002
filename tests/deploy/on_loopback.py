"""Stand-ins on PATH by which job scripts start a real Ray on loopback, and this copy of the program."""

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
