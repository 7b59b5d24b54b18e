"""Use a loss of the core where a stock head has lost the images."""

import torch
from torch import Tensor, nn

from lidar_rank.devices import require
from lidar_rank.losses._common import ClassificationLoss, range_of
from lidar_rank.losses._shapes import Float, Int

__all__ = ["FlatLoss"]


class FlatLoss(nn.Module):
    """Let a stock head of mmdet, which flattens the batch, use a loss of the core.

    All candidates of a call are one ranking group, as if they were one image: in these heads that is one pyramid level
    of the whole batch, not the image that the papers rank. Losses that need ``iou`` cannot be used, and an average over
    calls would mix the levels: give ``GHMCLoss`` ``momentum=0``. Where the images matter, use one of lidar_rank's own
    heads. The anchor heads of mmdet3d sample anchors for losses that they do not know, and cannot use this one.

    Args:
        loss: Classification loss of the core.
        use_sigmoid: What heads ask of a loss; must be True. A config must say so, because mmdet reads it there.

    Raises:
        ValueError: ``use_sigmoid`` is False, or a loss needs ``iou``, which stock heads do not give.

    Example:
        >>> from lidar_rank.losses import DRLoss
        >>> FlatLoss(DRLoss())(torch.zeros(3, 1), torch.tensor([0, 1, 1]), torch.tensor([1.0, 1.0, 0.0]))
        tensor(2.0324)
    """

    def __init__(self, loss: nn.Module, use_sigmoid: bool = True) -> None:
        super().__init__()
        if not use_sigmoid:
            raise ValueError("use_sigmoid must be True: the core's losses take one score per class, got False")
        for part in loss.modules():
            if isinstance(part, ClassificationLoss) and part.needs_iou:
                raise ValueError(
                    f"FlatLoss serves heads that give no overlaps, and {type(part).__name__} needs iou=: use the head"
                    " of scope lidar_rank that derives from the stock head"
                )
        self.loss = loss
        self.use_sigmoid = use_sigmoid

    def forward(
        self,
        cls_score: Float[Tensor, "candidate class"],
        label: Int[Tensor, " candidate"],
        weight: Float[Tensor, " candidate"] | None = None,
        avg_factor: float | Tensor | None = None,  # noqa: ARG002  (the losses normalise themselves)
        reduction_override: str | None = None,
    ) -> Float[Tensor, "..."]:
        """Return the loss of one group.

        Args:
            cls_score: Raw scores.
            label: 0..C-1 an object's class, C background, -1 ignored.
            weight: 1 or 0; candidates of weight 0 are ignored.
            avg_factor: Not used: the losses normalise themselves.
            reduction_override: Must be None.

        Raises:
            ValueError: a weight is neither 0 nor 1, or a reduction is asked for.
        """
        if reduction_override is not None:
            raise ValueError(f"reduction_override must be None, got {reduction_override!r}; set reduction on the loss")
        if weight is not None:
            require(((weight == 0) | (weight == 1)).all(), "weight must be 0 (ignored) or 1", lambda: range_of(weight))
            label = torch.where(weight > 0, label, -1)
        return self.loss(cls_score.unsqueeze(0), label.unsqueeze(0))
