"""Linear algebra of a few hundred rows."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Meanwhile linear algebra uses one thread: a few hundred rows gain nothing from more, and trainings run beside.

    Measured 2 to 10 times slower with more threads; the eigenvalues of 300 rows took 0.8 s of CPU time on two busy
    cores, and 7 ms with one thread.
    """
    with _threads().limit(limits=1):
        yield


@functools.cache
def _threads() -> ThreadpoolController:
    # Finding the libraries takes longer than a small fit.
    return ThreadpoolController()
