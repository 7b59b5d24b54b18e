"""The boxes of a test of images, kept for ``lidar-rank report``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from lidar_rank.kitti import join_frames
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.page import Results

MIN_OVERLAP = 0.5  # of COCO's AP50 and of VOC
UNKNOWN, UNKNOWN_ALPHA_RAD, UNKNOWN_M = -1.0, -10.0, -1000.0  # in files of KITTI
IGNORED_AREA = "DontCare"


class ImageResultsHook(Hook):
    """Keep detections and objects of each image, in pixels of its file; of scans nothing."""

    def before_test(self, runner: Runner) -> None:
        """Forget those of an earlier test."""
        self._classes = runner.test_dataloader.dataset.metainfo["classes"]
        self._frames: list[tuple[Path, KittiObjects, KittiObjects]] = []

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:  # noqa: ARG002
        """Keep one batch."""
        for sample in outputs:
            if "eval_ann_info" in sample:  # of a scan
                return
            file = Path(sample.img_path).absolute()
            parts = [(sample.gt_instances, False), (sample.ignored_instances, True)]
            self._frames.append((file, self._table(file, parts), self._table(file, [(sample.pred_instances, False)])))

    @property
    def results(self) -> Results | None:
        """Results of all images; None where there were none."""
        if not self._frames:
            return None
        files, objects, detections = zip(*self._frames, strict=True)
        overlaps = dict.fromkeys(self._classes, MIN_OVERLAP)
        return Results(files, False, False, overlaps, "recall", join_frames(objects), join_frames(detections))

    def _table(self, file: Path, parts: Sequence[tuple[InstanceData, bool]]) -> KittiObjects:
        """Objects of an image, with KITTI's numbers for what is unknown; those to ignore are areas."""
        boxes = np.concatenate([instances.bboxes.cpu().numpy().reshape(-1, 4) for instances, _ in parts])
        names = [
            IGNORED_AREA if ignored else self._classes[int(label)]
            for instances, ignored in parts
            for label in instances.labels
        ]
        count = len(boxes)
        scores = parts[0][0].get("scores")
        return KittiObjects(
            frame_ids=(file.stem,),
            frame_start=np.array([0, count]),
            name=np.array(names, dtype=np.str_),
            truncation=np.full(count, UNKNOWN),
            occlusion=np.full(count, UNKNOWN),
            alpha_rad=np.full(count, UNKNOWN_ALPHA_RAD),
            bbox_px=boxes.astype(np.float64),
            size_m=np.full((count, 3), UNKNOWN),
            location_m=np.full((count, 3), UNKNOWN_M),
            yaw_rad=np.full(count, UNKNOWN_ALPHA_RAD),
            score=np.full(count, np.nan) if scores is None else scores.cpu().double().numpy(),
        )
