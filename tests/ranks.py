"""Processes that train together."""

import time
from collections.abc import Callable
from pathlib import Path

from torch import multiprocessing


def run_ranks(work: Callable[[int, str], None], folder: Path, num_ranks: int = 2, limit_s: float = 300) -> None:
    """Call ``work(rank, folder)`` in a process for each rank, and end those that wait for each other without end."""
    context = multiprocessing.spawn(work, (str(folder),), nprocs=num_ranks, join=False)
    deadline = time.monotonic() + limit_s
    while not context.join(timeout=1):
        if time.monotonic() > deadline:
            waiting = [process for process in context.processes if process.is_alive()]
            for process in waiting:
                process.kill()
                process.join()
            raise TimeoutError(f"{len(waiting)} of {num_ranks} processes had not ended after {limit_s:g} s")
