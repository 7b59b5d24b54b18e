"""Check of the candidates that the diagnostics receive from a head."""

import numpy as np

from lidar_rank.labels import is_object
from lidar_rank.shapes import Float, Int


def check_candidates(
    scores: Float[np.ndarray, "image candidate class"],
    labels: Int[np.ndarray, "image candidate"],
    iou: Float[np.ndarray, "image candidate"],
) -> None:
    """Raise a ValueError that names the array whose shape or values are not those of the loss contract."""
    if scores.ndim != 3 or labels.shape != scores.shape[:2] or iou.shape != scores.shape[:2]:
        raise ValueError(
            "scores must be (image, candidate, class), labels and iou (image, candidate); "
            f"got {scores.shape}, {labels.shape} and {iou.shape}"
        )
    num_classes = scores.shape[2]
    if ((labels < -1) | (labels > num_classes)).any():
        raise ValueError(f"labels must lie in -1..{num_classes}, got {labels.min()}..{labels.max()}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"scores must lie in [0, 1], got {scores.min()}..{scores.max()}; take the sigmoid of logits")
    at_positives = iou[is_object(labels, num_classes)]
    if not ((at_positives >= 0) & (at_positives <= 1)).all():
        raise ValueError(f"iou of positives must lie in [0, 1], got {at_positives.min()}..{at_positives.max()}")
