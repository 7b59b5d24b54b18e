"""The step that 2D and 3D heads share: from the host's maps by level to ``(image, candidate, class)``."""

import torch
from torch import Tensor


def by_image(maps: list[Tensor], channels: int) -> Tensor:
    """Join all levels of each image: (image, anchor * channel, y, x) become (image, candidate, channel), in float32.

    Candidates run level by level and, within one, by y, x, anchor: the order of the host's anchors.
    """
    rows = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, channels) for level in maps]
    return torch.cat(rows, dim=1).float()


def level_of_candidate(maps: list[Tensor], channels: int) -> Tensor:
    """Pyramid level (candidate,) of each candidate of :func:`by_image`."""
    sizes = torch.tensor([level[0].numel() // channels for level in maps], device=maps[0].device)
    return torch.arange(len(maps), device=maps[0].device).repeat_interleave(sizes)


def is_positive(labels: Tensor, num_classes: int) -> Tensor:
    """Candidates (image, candidate) that have an object: neither background (``num_classes``) nor ignored (-1)."""
    return (labels >= 0) & (labels < num_classes)


def iou_of_candidates(positive_iou: Tensor, positive: Tensor) -> Tensor:
    """Spread the overlaps (positive,) over (image, candidate): zero elsewhere, differentiable where they are."""
    return positive_iou.new_zeros(positive.shape).masked_scatter(positive, positive_iou)
