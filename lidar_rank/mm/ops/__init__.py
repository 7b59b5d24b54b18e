"""Our own form of mmcv's compiled operators, put in their place where mmcv is installed without them.

mmcv takes its operators from the extension module ``mmcv._ext``, which must be compiled for the very torch and CUDA
that are installed. The pure-Python package ``mmcv-lite`` is the same code without it. :func:`install` supplies a module
of that name with the operators that the detectors of ``configs/`` call, in numba on CPUs and in plain torch elsewhere.
"""

import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, NoReturn

from lidar_rank.mm.ops.boxes import (
    box_iou_rotated,
    points_in_boxes_all_forward,
    points_in_boxes_cpu_forward,
    points_in_boxes_part_forward,
)
from lidar_rank.mm.ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from lidar_rank.mm.ops.nms import nms, nms_rotated
from lidar_rank.mm.ops.roi_align import roi_align_backward, roi_align_forward
from lidar_rank.mm.ops.voxels import dynamic_voxelize_forward, hard_voxelize_forward

SETTING: Final = "LIDAR_RANK_OPS"
"""Environment variable: ``own`` or ``mmcv`` insists on one; without it compiled operators are used where they load."""

_MODULE: Final = "mmcv._ext"
_HOW_TO_COMPILE: Final = (
    "pip uninstall mmcv-lite; MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary mmcv mmcv==2.1.0"
    " (needs a C++ compiler, on a GPU also nvcc of torch's CUDA version, and 10 to 30 minutes)"
)


class OwnOperators(ModuleType):
    """The module that stands for ``mmcv._ext``."""

    def __init__(self) -> None:
        super().__init__(_MODULE, __doc__)
        self.__spec__ = ModuleSpec(_MODULE, loader=None)
        self.__dict__.update({operator.__name__: operator for operator in _OPERATORS})

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        """Any other operator: mmcv looks up all names when it is imported, so the error has to wait for the call."""
        if name.startswith("__"):
            raise AttributeError(f"module {_MODULE!r} has no attribute {name!r}")

        def missing(*_: Any, **__: Any) -> NoReturn:
            raise NotImplementedError(
                f"mmcv's operator {name} is not among those that lidar_rank supplies; install compiled mmcv: "
                + _HOW_TO_COMPILE
            )

        return missing


def get_compiler_version() -> str:
    """What the host's list of the environment shows as the compiler of the operators."""
    return "none: operators of lidar_rank"


def get_compiling_cuda_version() -> str:
    """What that list shows as their CUDA version."""
    return "none: operators of lidar_rank"


_OPERATORS: Final = (
    box_iou_rotated,
    dynamic_voxelize_forward,
    get_compiler_version,
    get_compiling_cuda_version,
    hard_voxelize_forward,
    nms,
    nms_rotated,
    points_in_boxes_all_forward,
    points_in_boxes_cpu_forward,
    points_in_boxes_part_forward,
    roi_align_backward,
    roi_align_forward,
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)


def install() -> None:
    """Make sure that ``mmcv._ext`` can be imported; call it before anything imports ``mmcv.ops``.

    Compiled operators are preferred, for whoever has built them wants them. Where there are none, or where they do not
    load, ours take their place.

    Raises:
        ImportError: LIDAR_RANK_OPS asks for compiled operators and they do not load, or for ours and mmcv has loaded
            compiled ones already.
        ValueError: LIDAR_RANK_OPS has another value.
    """
    wanted = os.environ.get(SETTING, "")
    if wanted not in ("", "own", "mmcv"):
        raise ValueError(f"{SETTING} must be own, mmcv or empty, got {wanted!r}")
    loaded = sys.modules.get(_MODULE)
    if isinstance(loaded, OwnOperators):
        return
    if wanted != "own":
        try:
            import_module(_MODULE)
            return
        except ImportError as error:
            if wanted == "mmcv":
                raise ImportError(f"{SETTING}=mmcv, but mmcv has no operators that load: {_HOW_TO_COMPILE}") from error
            if not isinstance(error, ModuleNotFoundError):
                warnings.warn(
                    f"mmcv's compiled operators do not load, those of lidar_rank are used ({error}). Compile mmcv anew"
                    f" for this torch, or set {SETTING}=own to use ours without this warning.",
                    stacklevel=2,
                )
    elif loaded is not None:
        raise ImportError(f"{SETTING}=own, but mmcv's compiled operators are loaded: import lidar_rank.mm before mmcv")
    sys.modules[_MODULE] = OwnOperators()
