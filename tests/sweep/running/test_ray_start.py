"""Ctrl-C and SIGTERM while Ray starts."""

import os
import signal
import subprocess
import sys

import pytest

WHATEVER_IS_RAISED = """
import os, time
from pathlib import Path
import ray
from sweep.command_line import signals_interrupt
from sweep.running import cluster
from sweep.study import Resources

def init(**options):
    print("starting", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

ray.init = init
with signals_interrupt(), cluster.cluster(None, Resources()):
    pass
"""
"""Python drops an exception that hits what happens around a fork."""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_raises_in_the_start_of_ray_cannot_hold_an_interrupt_up(tmp_path, number: signal.Signals) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", WHATEVER_IS_RAISED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "RAY_TMPDIR": str(tmp_path)},
        # What a shell starts in the background ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stdout is not None and run.stdout.readline() == b"starting\n"
    run.send_signal(number)
    try:
        _, err = run.communicate(timeout=15)
    finally:
        run.kill()
    assert (run.returncode, err) == (130, b"interrupted\n")
