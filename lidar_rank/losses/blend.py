"""Warm up with one loss and train on with another."""

from typing import Any

from torch import Tensor, nn

from lidar_rank.losses._common import check_within


class BlendLoss(nn.Module):
    r""":math:`(1 - t) \, start + t \, end` of two losses with one call; t is set from outside as training goes on.

    RankDetNet starts from a detector trained with focal loss: set t to 0 for the warm-up and to 1 after it, or let it
    rise linearly. A loss with factor 0 is not computed. t is no part of the state: set it again after a resume.

    Args:
        start: Loss at t = 0.
        end: Loss at t = 1.

    Example:
        >>> import torch
        >>> from lidar_rank.losses import DRLoss, SigmoidFocalLoss
        >>> loss = BlendLoss(SigmoidFocalLoss(), DRLoss())
        >>> loss.set_progress(0.5)
        >>> loss(torch.zeros(1, 3, 1), torch.tensor([[0, 1, 1]]))
        tensor(1.1678)
    """

    def __init__(self, start: nn.Module, end: nn.Module) -> None:
        super().__init__()
        self.start, self.end = start, end
        self.progress = 0.0

    def set_progress(self, progress: float) -> None:
        """Set t, in [0, 1].

        Raises:
            ValueError: t lies outside.
        """
        check_within(0, 1, progress=progress)
        self.progress = float(progress)

    def forward(self, *inputs: Tensor, **named: Any) -> Tensor:
        """Return the blended loss of the inputs that both losses take."""
        if self.progress == 0:
            return self.start(*inputs, **named)
        if self.progress == 1:
            return self.end(*inputs, **named)
        return (1 - self.progress) * self.start(*inputs, **named) + self.progress * self.end(*inputs, **named)
