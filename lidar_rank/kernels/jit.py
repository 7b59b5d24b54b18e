"""Compilation of the kernels: one set of options, and machine code kept on disk where that is possible."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache


def kernel(function: Callable[..., Any] | None = None, *, error_model: str = "python") -> Any:
    """Compile a function on its first call, with exact arithmetic and without holding Python's global lock.

    Args:
        function: What to compile; None returns a decorator with these options.
        error_model: Division by zero is an error (``"python"``) or infinity or NaN (``"numpy"``).
    """
    if function is None:
        return functools.partial(kernel, error_model=error_model)
    compiled = njit(fastmath=False, nogil=True, error_model=error_model)(function)
    keep_machine_code(compiled)
    return compiled


def keep_machine_code(dispatcher: Any) -> None:
    """Keep the machine code of a numba function on disk, so that the next process need not compile it.

    Numba chooses the folder: that of the environment variable ``NUMBA_CACHE_DIR``, ``__pycache__`` beside the source,
    or the user's cache folder. Where it can write to none of them, as in an installation by root that a user without a
    home folder runs, each process compiles what it calls.

    Args:
        dispatcher: What ``numba.njit`` returned.
    """
    with contextlib.suppress(RuntimeError):  # "cannot cache function"
        dispatcher._cache = _Cache(dispatcher.py_func)


class _Cache(FunctionCache):
    """Numba's cache, for which a full disk is no reason to stop: the function is compiled already."""

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
