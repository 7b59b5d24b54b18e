"""The exact KITTI evaluation inside the host's validation and test loops."""

from collections.abc import Sequence
from pathlib import Path

import mmengine
import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from lidar_rank.evaluation import DIFFICULTIES, evaluate_kitti, format_table
from lidar_rank.kitti.calibration import read_calibration
from lidar_rank.kitti.labels import KittiObjects, join_frames, read_kitti_labels, write_kitti_results
from lidar_rank.kitti.predictions import detections_of_frame
from lidar_rank.kitti.range import ignore_outside_range
from lidar_rank.mm.registry import METRICS


@METRICS.register_module()
class KittiAP(BaseMetric):
    """AP of the KITTI benchmark, from the label files of the frames that were tested.

    Metrics are named ``kitti/Car/3d/R40/moderate`` and so on, in percent; ``kitti/Car/3d@0.5/...`` at an extra
    threshold.

    Args:
        data_root: KITTI root with ``training/label_2`` and ``training/calib``.
        ann_file: Annotation file of the tested split; gives the image sizes.
        point_cloud_range: ``(x_min, y_min, z_min, x_max, y_max, z_max)`` that the detector sees, in metres. Objects
            whose centre lies outside, seen from above, are ignored. None counts every object.
        extra_overlaps: IoU thresholds evaluated beside the official ones.
        sampling: Of recall: ``"official"``, or ``"recall"`` for sets with fewer than 41 objects, on which the
            benchmark's AP cannot reach 100; with many objects both agree.
        result_dir: Where result files go, one per frame; None writes none.
        collect_device: As in ``BaseMetric``.
        prefix: As in ``BaseMetric``.
    """

    default_prefix = "kitti"

    def __init__(
        self,
        data_root: str,
        ann_file: str = "kitti_infos_val.pkl",
        point_cloud_range: Sequence[float] | None = None,
        extra_overlaps: Sequence[float] = (0.5,),
        sampling: str = "official",
        result_dir: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.data_root = Path(data_root)
        self.ann_file = ann_file
        self.point_cloud_range = point_cloud_range
        self.extra_overlaps = extra_overlaps
        self.sampling = sampling
        self.result_dir = result_dir

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:  # noqa: ARG002 - the host's signature
        """Keep the boxes of a batch."""
        for sample in data_samples:
            predictions = sample["pred_instances_3d"]
            columns = (predictions["bboxes_3d"].tensor, predictions["labels_3d"], predictions["scores_3d"])
            self.results.append((Path(sample["lidar_path"]).stem, *(column.cpu().numpy() for column in columns)))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Evaluate all frames."""
        frame_ids = [result[0] for result in results]
        detections = join_frames(self._detections(results))
        objects = read_kitti_labels(self.data_root / "training/label_2", frame_ids)
        if self.point_cloud_range is not None:
            objects = ignore_outside_range(objects, self.data_root / "training/calib", self.point_cloud_range)
        if self.result_dir:
            write_kitti_results(Path(self.result_dir), detections)
        classes = self.dataset_meta["classes"]
        official = evaluate_kitti(objects, detections, classes=classes, sampling=self.sampling)
        print_log(f"KITTI AP of {len(frame_ids)} frames\n{format_table(official)}", logger="current")
        values = _by_name(official.ap_percent())
        for overlap in self.extra_overlaps:
            thresholds = dict.fromkeys(classes, overlap)
            result = evaluate_kitti(
                objects, detections, classes=classes, min_overlap=thresholds, sampling=self.sampling
            )
            print_log(f"with IoU {overlap:g}\n{format_table(result)}", logger="current")
            values |= _by_name(result.ap_percent(), suffix=f"@{overlap:g}")
        return values

    def _detections(self, results: list[tuple]) -> list[KittiObjects]:
        classes = np.array(self.dataset_meta["classes"])
        sizes = _image_sizes(self.data_root / self.ann_file)
        parts = []
        for frame_id, boxes, labels, scores in results:
            calibration = read_calibration(self.data_root / "training/calib" / f"{frame_id}.txt")
            parts.append(
                detections_of_frame(frame_id, boxes[:, :7], classes[labels], scores, calibration, sizes[frame_id])
            )
        return parts


def _image_sizes(ann_file: Path) -> dict[str, tuple[int, int]]:
    """Width and height of each frame of an annotation file."""
    cameras = (
        (info["lidar_points"]["lidar_path"], info["images"]["CAM2"]) for info in mmengine.load(ann_file)["data_list"]
    )
    return {Path(path).stem: (camera["width"], camera["height"]) for path, camera in cameras}


def _by_name(ap_percent: dict, suffix: str = "") -> dict[str, float]:
    return {
        f"{class_name}/{metric}{suffix}/{recall}/{difficulty.name}": value
        for class_name, by_metric in ap_percent.items()
        for metric, by_recall in by_metric.items()
        for recall, values in by_recall.items()
        for difficulty, value in zip(DIFFICULTIES, values, strict=True)
    }
