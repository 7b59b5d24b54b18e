"""Compiled code on several threads."""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor


def run_at_once(parts: Iterable[Callable[[], None]]) -> None:
    """Run the parts at the same time: compiled code does not hold Python's lock, and threads that wait do not spin."""
    first, *others = parts
    futures = [_pool().submit(part) for part in others]
    first()
    for future in futures:
        future.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="lidar_rank")


if hasattr(os, "register_at_fork"):  # not on Windows
    # A forked process inherits the pool but not its threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)
