"""The exact KITTI evaluation inside the host's validation and test loops."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from lidar_rank.evaluation import DIFFICULTIES, evaluate_kitti, format_table
from lidar_rank.kitti import join_frames, objects_from_lidar, read_calibration, read_kitti_labels, write_kitti_results
from lidar_rank.kitti.infos import read_image_sizes
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.kitti.range import ignore_outside_range
from lidar_rank.kitti.root import Frame
from lidar_rank.mm.registry import METRICS
from lidar_rank.page import Results


@METRICS.register_module()
class KittiAP(BaseMetric):
    """AP of the KITTI benchmark, from the label files of the frames that were tested.

    Metrics are named ``kitti/Car/3d/R40/moderate`` and so on, in percent; ``kitti/Car/3d@0.5/...`` at an extra
    threshold. Calibration and labels are those of the folder that a scan comes from, ``training`` or ``testing``. Where
    that folder has no ``label_2``, as in KITTI's test split, result files are written and no AP is computed.

    Args:
        data_root: KITTI root, with ``ann_file``.
        ann_file: Annotation file of the tested split, from which the image sizes are read.
        point_cloud_range: ``(x_min, y_min, z_min, x_max, y_max, z_max)`` that the detector sees, in metres. Objects
            whose centre lies outside, seen from above, are ignored. None counts every object.
        extra_overlaps: IoU thresholds evaluated beside the official ones.
        sampling: Of recall: ``"official"``, or ``"recall"`` for sets with fewer than 41 objects, on which the
            benchmark's AP cannot reach 100; with many objects both agree.
        result_dir: Folder for result files, one per frame; None writes none.
        collect_device: As in ``BaseMetric``.
        prefix: As in ``BaseMetric``.

    Raises:
        FileNotFoundError: there is no ``ann_file``.
        ValueError: ``ann_file`` is damaged.
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
        self.ann_file = Path(data_root) / ann_file
        self.image_sizes = read_image_sizes(self.ann_file)  # now, so that a bad file does not end a training
        self.point_cloud_range = point_cloud_range
        self.extra_overlaps = extra_overlaps
        self.sampling = sampling
        self.result_dir = result_dir
        self.compared: Results | None = None  # by the latest evaluation, for `lidar-rank analyze`

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:  # noqa: ARG002 - the host's signature
        """Keep the boxes of a batch."""
        for sample in data_samples:
            name = Frame.of_scan(Path(sample["lidar_path"])).name
            if name not in self.image_sizes:
                raise ValueError(
                    f"{self.ann_file} has no frame {name}: give KittiAP the ann_file of the tested data set"
                )
            predictions = sample["pred_instances_3d"]
            columns = (predictions["bboxes_3d"].tensor, predictions["labels_3d"], predictions["scores_3d"])
            self.results.append((sample["lidar_path"], *(column.cpu().numpy() for column in columns)))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Evaluate all frames."""
        frames = [Frame.of_scan(Path(lidar_path)) for lidar_path, *_ in results]
        folder = frames[0].folder
        if {frame.folder for frame in frames} != {folder}:
            raise ValueError(f"scans of one test must lie in one folder, got {sorted({f.folder for f in frames})}")
        detections = join_frames(
            [self._detections(frame, *result[1:]) for frame, result in zip(frames, results, strict=True)]
        )
        if self.result_dir:
            write_kitti_results(Path(self.result_dir), detections)
            print_log(f"Wrote {len(frames)} result files to {self.result_dir}", logger="current")
        if not (folder / "label_2").is_dir():
            print_log(f"No AP: {folder} has no label_2, so there is nothing to compare with.", logger="current")
            return {}
        objects = read_kitti_labels(folder / "label_2", detections.frame_ids)
        if self.point_cloud_range is not None:
            objects = ignore_outside_range(objects, folder / "calib", self.point_cloud_range)
        result = evaluate_kitti(
            objects,
            detections,
            classes=self.dataset_meta["classes"],
            extra_overlaps=self.extra_overlaps,
            sampling=self.sampling,
        )
        self.compared = Results(
            files=tuple(Path(lidar_path).absolute() for lidar_path, *_ in results),
            is_3d=True,
            has_difficulties=True,
            min_overlap=result.min_overlap,
            sampling=self.sampling,
            objects=objects,
            detections=detections,
        )
        print_log(f"KITTI AP of {len(frames)} frames\n{format_table(result)}", logger="current")
        return _by_name(result.ap_percent())

    def _detections(self, frame: Frame, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> KittiObjects:
        # Early in training exp() of a size overflows now and then: such a box is nowhere.
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 3:6] > 0).all(axis=1) & np.isfinite(scores)
        return objects_from_lidar(
            frame.name,
            boxes[usable],
            np.array(self.dataset_meta["classes"])[labels[usable]],
            read_calibration(frame.calibration_path),
            self.image_sizes[frame.name],
            scores=scores[usable],
        )


def _by_name(ap_percent: dict) -> dict[str, float]:
    return {
        f"{class_name}/{metric}/{recall}/{difficulty.name}": value
        for class_name, by_metric in ap_percent.items()
        for metric, by_recall in by_metric.items()
        for recall, values in by_recall.items()
        for difficulty, value in zip(DIFFICULTIES, values, strict=True)
    }
