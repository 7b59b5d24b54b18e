"""Localization losses between L1 and L2: smooth L1 and its decaying form, authentic smooth L1, balanced L1."""

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from lidar_rank.losses._common import (
    Boxes,
    LocalizationLoss,
    localization_loss,
    reduce_rows,
    set_buffers,
)
from lidar_rank.losses._options import Count, Positive, Range, Reduction
from lidar_rank.losses._shapes import Float, Int

__all__ = [
    "AuthenticSmoothL1Loss",
    "BalancedL1Loss",
    "DecayingSmoothL1Loss",
    "SmoothL1Loss",
    "authentic_smooth_l1_loss",
    "balanced_l1_loss",
    "decaying_smooth_l1_loss",
    "smooth_l1_loss",
]


@localization_loss
def smooth_l1_loss(
    pred: Float[Tensor, "positive dimension"],
    target: Float[Tensor, "positive dimension"],
    *,
    iou: Float[Tensor, " positive"] | None = None,  # noqa: ARG001
    boxes: Boxes | None = None,  # noqa: ARG001
    beta: Positive = 1.0 / 9.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Square of a small error, absolute value of a large one.

    .. math:: \ell(d) = \tfrac{d^2}{2\beta} \text{ if } |d| < \beta, \text{ else } |d| - \tfrac{\beta}{2}

    Source: Girshick, "Fast R-CNN", ICCV 2015, eq. 3, with the width beta of later detectors.

    Args:
        pred: Predicted box deltas.
        target: Their truth.
        iou: Not used.
        boxes: Not used.
        beta: Error where the square ends, > 0.
        reduction: ``"mean"`` is the sum over dimensions over the number of positives, those of all ranks in a
            distributed run; ``"sum"`` leaves that division to the caller, ``"none"`` gives one value per positive.

    Returns:
        A scalar, or shape (positive,) for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> smooth_l1_loss(torch.tensor([[0.05, 1.0]]), torch.zeros(1, 2))
        tensor(0.9557)
    """
    return reduce_rows(smooth_l1_terms(pred - target, beta), reduction)


def smooth_l1_terms(
    error: Float[Tensor, "positive dimension"], beta: float | Float[Tensor, ""]
) -> Float[Tensor, "positive dimension"]:
    """Smooth L1 of every coordinate."""
    size = error.abs()
    return torch.where(size < beta, 0.5 * size.square() / beta, size - 0.5 * beta)


class SmoothL1Loss(LocalizationLoss):
    """Module form of :func:`smooth_l1_loss`."""

    function = staticmethod(smooth_l1_loss)


@localization_loss
def decaying_smooth_l1_loss(
    pred: Float[Tensor, "positive dimension"],
    target: Float[Tensor, "positive dimension"],
    *,
    iou: Float[Tensor, " positive"] | None = None,  # noqa: ARG001
    boxes: Boxes | None = None,  # noqa: ARG001
    step: int | Int[Tensor, ""] = 0,
    beta: Positive,
    decay: Annotated[float, Range(1e-12, 1e6)],
    period: Count,
    mode: Literal["floor", "mod"] = "floor",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Smooth L1 whose width shrinks while training goes on, towards the L1 loss.

    .. math:: \beta_t = \max(\beta_0 - \alpha \lfloor t / K \rfloor, 0.001)

    Source: the regression loss of DR loss's first version, arXiv:1907.10156v1. It writes :math:`t \% K`, which would
    be a saw-tooth (``mode="mod"``); its abstract says that the loss gradually approaches L1, which is ``"floor"``.
    It gives no values, so beta, decay and period have no defaults.

    Args:
        pred: Predicted box deltas.
        target: Their truth.
        iou: Not used.
        boxes: Not used.
        step: Training step :math:`t`, from 0.
        beta: Width :math:`\beta_0` at the first step, > 0.
        decay: :math:`\alpha`, what every period takes from the width, > 0.
        period: :math:`K`, in steps, > 0.
        mode: ``"floor"`` or ``"mod"``.
        reduction: As in :func:`smooth_l1_loss`.

    Returns:
        A scalar, or shape (positive,) for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.
    """
    time = torch.as_tensor(step, device=pred.device)
    periods = time // period if mode == "floor" else time % period
    width = (beta - decay * periods.to(pred.dtype)).clamp(min=1e-3)
    return reduce_rows(smooth_l1_terms(pred - target, width), reduction)


class DecayingSmoothL1Loss(LocalizationLoss):
    """Module form of :func:`decaying_smooth_l1_loss`; counts its own training steps in the buffer ``step``."""

    function = staticmethod(decaying_smooth_l1_loss)
    step: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def compute(self, pred: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        """Return the loss at the current step; in training mode the step then moves on."""
        loss = super().compute(pred, target, step=self.step.clone(), **inputs)
        if self.training:
            set_buffers(self, step=self.step + 1)
        return loss


@localization_loss
def authentic_smooth_l1_loss(
    pred: Float[Tensor, "positive dimension"],
    target: Float[Tensor, "positive dimension"],
    *,
    iou: Float[Tensor, " positive"] | None = None,  # noqa: ARG001
    boxes: Boxes | None = None,  # noqa: ARG001
    mu: Positive = 0.02,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Smooth everywhere: :math:`\sqrt{d^2 + \mu^2} - \mu`, whose gradient norm tells errors of every size apart.

    Source: Li et al., "Gradient Harmonized Single-stage Detector", AAAI 2019.

    Args:
        pred: Predicted box deltas.
        target: Their truth.
        iou: Not used.
        boxes: Not used.
        mu: Error where the square gives way to the absolute value, > 0.
        reduction: As in :func:`smooth_l1_loss`.

    Returns:
        A scalar, or shape (positive,) for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> authentic_smooth_l1_loss(torch.tensor([[0.015]]), torch.zeros(1, 1))
        tensor(0.0050)
    """
    return reduce_rows(authentic_smooth_l1_terms(pred - target, mu), reduction)


def authentic_smooth_l1_terms(
    error: Float[Tensor, "positive dimension"], mu: float
) -> Float[Tensor, "positive dimension"]:
    """Authentic smooth L1 of every coordinate."""
    return error.hypot(torch.full((), mu, dtype=error.dtype, device=error.device)) - mu


class AuthenticSmoothL1Loss(LocalizationLoss):
    """Module form of :func:`authentic_smooth_l1_loss`."""

    function = staticmethod(authentic_smooth_l1_loss)


@localization_loss
def balanced_l1_loss(
    pred: Float[Tensor, "positive dimension"],
    target: Float[Tensor, "positive dimension"],
    *,
    iou: Float[Tensor, " positive"] | None = None,  # noqa: ARG001
    boxes: Boxes | None = None,  # noqa: ARG001
    alpha: Positive = 0.5,
    gamma: Positive = 1.5,
    beta: Positive = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Smooth L1 with more gradient for small errors.

    The gradient is :math:`\alpha \ln(b |d| / \beta + 1)` below :math:`\beta` and :math:`\gamma` above, with
    :math:`b = e^{\gamma / \alpha} - 1` so that they meet; the loss is its integral (for every beta, not only 1).

    Source: Pang et al., "Libra R-CNN", CVPR 2019.

    Args:
        pred: Predicted box deltas.
        target: Their truth.
        iou: Not used.
        boxes: Not used.
        alpha: Gradient of small errors, > 0; the smaller, the more. gamma / alpha lies in [0.001, 70].
        gamma: Gradient of large errors, > 0.
        beta: Error where the gradient stops growing, > 0.
        reduction: As in :func:`smooth_l1_loss`.

    Returns:
        A scalar, or shape (positive,) for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> balanced_l1_loss(torch.tensor([[2.0]]), torch.zeros(1, 1))
        tensor(2.5786)
    """
    # Beyond, b or the curve below would leave the range of float32.
    if not 1e-3 <= gamma / alpha <= 70:
        raise ValueError(f"gamma / alpha must lie in [0.001, 70], got {gamma!r} / {alpha!r}")
    b = math.expm1(gamma / alpha)
    size = (pred - target).abs()
    # Where the logarithm is not taken its argument is held at beta: beyond, its gradient would be 0 * inf.
    inner = size.clamp(max=beta)
    curve = alpha / b * (b * inner + beta) * (b * inner / beta).log1p() - alpha * inner
    return reduce_rows(curve + gamma * (size - inner), reduction)


class BalancedL1Loss(LocalizationLoss):
    """Module form of :func:`balanced_l1_loss`."""

    function = staticmethod(balanced_l1_loss)
