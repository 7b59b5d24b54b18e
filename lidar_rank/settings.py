"""Settings of the process, and those that come from the environment."""

import ctypes
import os
import sys
from typing import Final

# glibc's names for the parameters of mallopt, and the largest block that it can keep.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAX_KEPT_BLOCK_BYTES = 32 << 20

SKIP_VARIABLE: Final = "LIDAR_RANK_SKIP"
SPARSE_VARIABLE: Final = "LIDAR_RANK_SPARSE"


def skipped_repairs() -> frozenset[str]:
    """Names of the repairs of other packages that are to be left out: ``LIDAR_RANK_SKIP``, separated by commas.

    ``docs/architecture.md`` lists the repairs.
    """
    words = os.environ.get(SKIP_VARIABLE, "").split(",")
    return frozenset(word.strip() for word in words if word.strip())


def follow_device(device: str | None) -> None:
    """Take the sparse convolution for CPUs where the device is one; call it before ``lidar_rank.mm`` is imported.

    A machine with a GPU else takes the layers for that, of which some have no code for CPUs. A choice that
    ``LIDAR_RANK_SPARSE`` holds already stays.
    """
    if device is not None and device.startswith("cpu") and not os.environ.get(SPARSE_VARIABLE):
        os.environ[SPARSE_VARIABLE] = "native"


def prepare_for_cpus() -> None:
    """Let a training on CPUs wait and allocate cheaply; call it before torch is imported.

    * Threads of OpenMP that wait sleep (``OMP_WAIT_POLICY=passive``, unless the variable is set). By default they spin,
      which takes the core from the thread that they wait for as soon as another program runs beside them.
    * Memory of freed tensors stays with the process, unless glibc's own variables say otherwise. By default glibc
      returns large blocks at once, and the system clears their pages again for the next tensor, in every layer of every
      step.

    The numbers of threads are those of ``OMP_NUM_THREADS`` and ``NUMBA_NUM_THREADS``.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if sys.platform != "linux" or {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(_M_MMAP_THRESHOLD, _MAX_KEPT_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2**30)
