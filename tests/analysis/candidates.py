"""Random candidates in the shapes that heads return."""

import numpy as np


def random_candidates(seed, images=2, candidates=40, classes=3, levels=None):
    """Scores, labels and overlaps. ``levels`` rounds scores and overlaps to that many steps, which creates ties."""
    rng = np.random.default_rng(seed)
    scores, iou = rng.random((images, candidates, classes)), rng.random((images, candidates))
    if levels:
        scores, iou = np.round(scores * levels) / levels, np.round(iou * levels) / levels
    labels = rng.integers(-1, classes + 1, (images, candidates))
    labels[rng.random(labels.shape) < 0.3] = classes
    iou[(labels < 0) | (labels == classes)] = np.nan
    return scores, labels, iou
