"""Losses made of other losses: a blend of two that changes while training goes on, and a sum."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lidar_rank.losses._options import Fraction, check_option

__all__ = ["BlendLoss", "SumLoss"]


class BlendLoss(nn.Module):
    r""":math:`(1 - t) \, start + t \, end` of two losses with one call; t is set from outside as training goes on.

    RankDetNet starts from a detector trained with focal loss: set t to 0 for the warm-up and to 1 after it, or let it
    rise linearly. A loss with factor 0 is not computed. t is no part of the state: set it again after a resume.

    Args:
        start: Loss at t = 0.
        end: Loss at t = 1.

    Raises:
        TypeError: an argument is not a module.

    Example:
        >>> import torch
        >>> from lidar_rank.losses import DRLoss, SigmoidFocalLoss
        >>> loss = BlendLoss(SigmoidFocalLoss(), DRLoss())
        >>> loss.set_progress(0.5)
        >>> loss(torch.zeros(1, 3, 1), torch.tensor([[0, 1, 1]]))
        tensor(1.1678)
    """

    progress: float | None

    def __init__(self, start: nn.Module, end: nn.Module) -> None:
        super().__init__()
        _check_modules("BlendLoss", start, end)
        self.start, self.end = start, end
        self.progress = None

    def set_progress(self, progress: float) -> None:
        """Set t, in [0, 1].

        Raises:
            ValueError: t lies outside.
        """
        check_option("progress", progress, Fraction)
        self.progress = float(progress)

    def forward(self, *inputs: Tensor, **named: Any) -> Tensor:
        """Return the blended loss of the inputs that both losses take.

        Raises:
            RuntimeError: nobody has set t yet; a run that forgets it would train with the start alone.
        """
        if self.progress is None:
            raise RuntimeError(
                "BlendLoss does not know how far training is: call set_progress(t) before each step, or add"
                " dict(type='lidar_rank.WarmUpHook') to the config's custom_hooks, which does"
            )
        if self.progress == 0:
            return self.start(*inputs, **named)
        if self.progress == 1:
            return self.end(*inputs, **named)
        return (1 - self.progress) * self.start(*inputs, **named) + self.progress * self.end(*inputs, **named)


class SumLoss(nn.Module):
    """Sum of losses with one call, each with its own ``loss_weight``.

    A loss that orders objects among themselves, such as :class:`lidar_rank.losses.IoURankingLoss`, needs another beside
    it that knows background.

    Args:
        losses: At least one loss.

    Raises:
        ValueError: there is no loss.
        TypeError: one is not a module.

    Example:
        >>> import torch
        >>> from lidar_rank.losses import IoURankingLoss, SigmoidFocalLoss
        >>> loss = SumLoss([SigmoidFocalLoss(), IoURankingLoss(loss_weight=0.5)])
        >>> iou = torch.tensor([[0.9, 0.5, 0.0]])
        >>> loss(torch.zeros(1, 3, 1), torch.tensor([[0, 0, 1]]), iou=iou)
        tensor(0.6083)
    """

    def __init__(self, losses: Sequence[nn.Module]) -> None:
        super().__init__()
        if not losses:
            raise ValueError("SumLoss needs at least one loss, got none")
        _check_modules("SumLoss", *losses)
        self.losses = nn.ModuleList(losses)

    def forward(self, *inputs: Tensor, **named: Any) -> Tensor:
        """Return the sum of the losses of the inputs that all take."""
        first, *others = (loss(*inputs, **named) for loss in self.losses)
        return sum(others, start=first)


def _check_modules(name: str, *losses: object) -> None:
    for loss in losses:
        if not isinstance(loss, nn.Module):
            raise TypeError(f"{name} is made of modules such as DRLoss(), got {loss!r}")
