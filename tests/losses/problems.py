"""Seeded inputs that the loss tests share."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Problem:
    """One call's inputs: two images, all kinds of labels, every class on both levels of the pyramid."""

    logits: Tensor
    labels: Tensor
    iou: Tensor
    level: Tensor

    def to(self, *args) -> "Problem":
        return replace(
            self,
            logits=self.logits.to(*args),
            labels=self.labels.to(self.logits.to(*args).device),
            iou=self.iou.to(*args),
            level=self.level.to(self.logits.to(*args).device),
        )


def make_problem(seed: int = 0, images: int = 2, candidates: int = 24, classes: int = 3) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, candidates, classes, generator=generator, dtype=torch.float64) * 1.5
    labels = torch.randint(0, classes + 1, (images, candidates), generator=generator)
    labels[:, ::3] = classes
    labels[:, 1::7] = -1
    iou = 0.05 + 0.9 * torch.rand(images, candidates, generator=generator, dtype=torch.float64)
    level = torch.arange(candidates) % 2
    return Problem(logits, labels, iou, level)


def decode(deltas: Tensor) -> Tensor:
    """A box (x, y, z_bottom, length, width, height, yaw) from deltas: sizes are exponentials, limited as in heads."""
    deltas = torch.nn.functional.pad(
        deltas.float() if deltas.element_size() == 2 else deltas, (0, 7 - deltas.shape[-1])
    )
    return torch.cat([deltas[..., :3], deltas[..., 3:6].clamp(-4, 4).exp(), deltas[..., 6:]], -1)


def make_boxes(seed: int = 0, positives: int = 9, dimensions: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(positives, dimensions, generator=generator, dtype=torch.float64)
    spread = torch.logspace(-3, 0.5, positives, dtype=torch.float64)[:, None]
    pred = target + spread * torch.randn(positives, dimensions, generator=generator, dtype=torch.float64)
    iou = 0.05 + 0.9 * torch.rand(positives, generator=generator, dtype=torch.float64)
    return pred, target, iou
