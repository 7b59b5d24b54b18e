"""Work in several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def process_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes, and what they run, end when its block fails or this process is interrupted or killed."""
    others = set(multiprocessing.active_children())
    # A forked process would copy locks that are held by threads of libraries in this process.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # the pool would wait for its work
            raise


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(os, "killpg"):  # Windows has no groups of processes
        return
    os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))

    def wait() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
