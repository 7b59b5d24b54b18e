"""The step that 2D and 3D heads share: the host's maps by level become ``(image, candidate, class)``."""

from typing import Any, NamedTuple

import torch
from mmdet3d.models.dense_heads import Anchor3DHead
from mmdet3d.registry import MODELS as MODELS_3D
from torch import Tensor, nn

from lidar_rank import devices, losses
from lidar_rank.labels import is_object
from lidar_rank.mm.registry import MODELS, SCOPE


class Candidates(NamedTuple):
    """Predictions and training targets of every candidate; the input of ``lidar_rank.analysis``."""

    scores: Tensor
    """(image, candidate, class), probabilities."""
    labels: Tensor
    """(image, candidate): 0..C-1 the object's class, C background, -1 ignored."""
    iou: Tensor
    """(image, candidate), overlap of each positive's regressed box with its object; 0 elsewhere."""


def by_image(maps: list[Tensor], channels: int) -> Tensor:
    """Join all levels of each image: (image, anchor * channel, y, x) become (image, candidate, channel), in float32.

    Candidates are ordered by level, y, x and anchor, as the host orders its anchors.
    """
    rows = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, channels) for level in maps]
    return torch.cat(rows, dim=1).float()


def level_of_candidate(maps: list[Tensor], channels: int) -> Tensor:
    """Pyramid level (candidate,) of each candidate that :func:`by_image` returns."""
    sizes = [level[0].numel() // channels for level in maps]
    # Numbers of a list would be copied to the device, which waits for it.
    return torch.cat([torch.full((size,), row, device=maps[0].device) for row, size in enumerate(sizes)])


def iou_of_candidates(positive_iou: Tensor, place: tuple[Tensor, Tensor], shape: torch.Size) -> Tensor:
    """Put the overlaps into zeros (image, candidate); differentiable if ``positive_iou`` is.

    Args:
        positive_iou: (positive,), of the candidates at ``place``.
        place: Image and candidate of each positive.
        shape: Numbers of images and candidates.
    """
    return positive_iou.new_zeros(shape).index_put(place, positive_iou)


def check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    """Refuse objects of a class that a head lacks, which would count as background.

    Args:
        labels: (object,).
        num_classes: Classes of the head.
        name: Of the scan or image, for the message.

    Raises:
        ValueError: a label is not one of the head's classes.
    """
    known = is_object(labels, num_classes)
    devices.require(
        known.all(),
        f"{name}: each label must be one of the head's {num_classes} classes, 0 to {num_classes - 1}",
        lambda: (
            f"label {labels[~known][0].item()} is not: num_classes and the data set's metainfo must name the same"
            " classes"
        ),
    )


def is_of_core(loss: nn.Module) -> bool:
    """Is this a localization loss of the core, or made of losses of the core?"""
    return isinstance(loss, losses.LOCALIZATION_LOSSES + losses.COMPOSITE_LOSSES)


def check_losses_have_images(config: Any, name: str = "model") -> None:
    """Refuse a model config that gives a loss of the core to a head that flattens the batch.

    Args:
        config: Config of the model, or any part of it.
        name: Name of the part, for the message.

    Raises:
        ValueError: a head of the host has a ``loss_cls`` of scope ``lidar_rank`` other than ``FlatLoss``, or a
            ``loss_bbox`` of this scope; or it has a ``FlatLoss`` that it would take for a loss of another kind.
    """
    if isinstance(config, list | tuple):
        for index, part in enumerate(config):
            check_losses_have_images(part, f"{name}[{index}]")
    if not isinstance(config, dict):
        return
    head = str(config.get("type"))
    for key in () if head.startswith(f"{SCOPE}.") else ("loss_cls", "loss_bbox"):
        loss = config.get(key)
        loss_type = str(loss.get("type")) if isinstance(loss, dict) else ""
        if not loss_type.startswith(f"{SCOPE}."):
            continue
        use = f"use type={_head_with_images(head)!r}"
        if loss_type == f"{SCOPE}.FlatLoss":
            _check_flat(loss, head, name, use)
            continue
        if key == "loss_cls":
            why = f"{loss_type} ranks within an image, and {head} flattens the batch before its loss"
            raise ValueError(f"{name}: {why}; {use}, or wrap the loss in {SCOPE}.FlatLoss with use_sigmoid=True")
        raise ValueError(f"{name}: {head} does not give {loss_type} the overlaps and boxes that it takes; {use}")
    for key, part in config.items():
        check_losses_have_images(part, f"{name}.{key}")


def _check_flat(loss: dict, head: str, name: str, use: str) -> None:
    """Refuse a ``FlatLoss`` where a head of the host, which looks at the text of the config, misunderstands it."""
    if issubclass(MODELS_3D.get(head) or nn.Module, Anchor3DHead):
        raise ValueError(
            f"{name}: {head} samples anchors for every loss but its own, so that FlatLoss misses most; {use}"
        )
    if loss.get("use_sigmoid") is not True:
        raise ValueError(
            f"{name}: {head} reads use_sigmoid in the config and takes scores for a softmax without it: write"
            f" loss_cls=dict(type='{SCOPE}.FlatLoss', use_sigmoid=True, loss=...)"
        )


def _head_with_images(stock: str) -> str:
    """Name of our head that derives from the host's head of this name."""
    stock = stock.rpartition(".")[2]
    heads = [name for name, ours in MODELS.module_dict.items() if stock in [base.__name__ for base in ours.__mro__]]
    return f"{SCOPE}.{heads[0]}" if heads else f"a head of scope {SCOPE}"
