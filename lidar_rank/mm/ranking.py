"""How a head ranks its candidates, measured on the way through a test."""

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from tqdm import tqdm

from lidar_rank.analysis import (
    Distributions,
    ReversePairs,
    count_distributions,
    count_reverse_pairs,
    score_iou_correlation,
)
from lidar_rank.labels import is_object
from lidar_rank.mm.registry import SCOPE


class RankingHook(Hook):
    """Count reversed pairs, scores and overlaps of all candidates of a test, from the features that the test computes.

    Args:
        min_score: Pairs with negatives that score less are left out.

    Raises:
        ValueError: before the test, if the head does not say which candidates are objects.
    """

    pairs: ReversePairs
    distributions: Distributions
    score_iou_correlation: float

    def __init__(self, min_score: float) -> None:
        self._min_score = min_score

    def before_test(self, runner: Runner) -> None:
        """Check the head, and keep the features of each batch from now on."""
        self._model = runner.model.module if hasattr(runner.model, "module") else runner.model
        head = getattr(self._model, "bbox_head", None)
        if not hasattr(head, "candidates"):
            raise ValueError(
                f"a {type(self._model).__name__} with {type(head).__name__} does not say which candidates are objects;"
                f" give it a dense head of scope {SCOPE}"
            )
        extract = self._model.extract_feat

        def extract_and_keep(*args, **kwargs) -> object:
            self._features = extract(*args, **kwargs)
            return self._features

        self._model.extract_feat = extract_and_keep
        self._counts, self._positives = [], []
        self._progress = tqdm(total=len(runner.test_dataloader), desc="analyze", unit="batch", delay=2)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:  # noqa: ARG002
        """Count one batch."""
        known = _in_scan if "eval_ann_info" in outputs[0] else _in_image
        device = next(self._model.parameters()).device
        objects, *ignored = zip(*(known(sample, device) for sample in outputs), strict=True)
        metas = [sample.metainfo for sample in outputs]
        found = self._model.bbox_head.candidates(self._features, objects, metas, *ignored)
        arrays = [part.cpu().numpy() for part in found]
        pairs = count_reverse_pairs(*arrays, min_negative_score=self._min_score)
        self._counts.append((pairs, count_distributions(*arrays)))
        positive = is_object(arrays[1], arrays[0].shape[2])
        self._positives.append([part[positive] for part in arrays])
        self._progress.update()

    def after_test(self, runner: Runner) -> None:  # noqa: ARG002
        """Add up all batches."""
        self._progress.close()
        pairs, distributions = zip(*self._counts, strict=True)
        self.pairs, self.distributions = sum(pairs, ReversePairs()), sum(distributions[1:], distributions[0])
        positives = (np.concatenate(part)[None] for part in zip(*self._positives, strict=True))
        self.score_iou_correlation = score_iou_correlation(*positives)


def _in_scan(sample: BaseDataElement, device: torch.device) -> tuple[InstanceData]:
    """Objects of a scan to test on."""
    known = sample.eval_ann_info
    boxes, labels = known["gt_bboxes_3d"].to(device), torch.as_tensor(known["gt_labels_3d"]).to(device)
    return (InstanceData(bboxes_3d=boxes, labels_3d=labels),)


def _in_image(sample: BaseDataElement, device: torch.device) -> tuple[InstanceData, InstanceData]:
    """Objects of an image to test on, and what to ignore there, in pixels of the network's input.

    The host keeps those of a test in pixels of the file.
    """
    found = sample.gt_instances.to(device), sample.ignored_instances.to(device)
    scale = torch.tensor(sample.scale_factor, device=device).repeat(2)
    for instances in found:
        instances.bboxes = instances.bboxes * scale
    return found
