"""AP in the host's validation and test loops: of the KITTI benchmark, and by distance for scans without a camera."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from lidar_rank.evaluation import KittiResult, evaluate_by_distance, evaluate_kitti, format_table
from lidar_rank.evaluation.distance import ALL_BANDS, BAND_EDGES_M, check_edges
from lidar_rank.kitti import join_frames, objects_from_lidar, read_calibration, read_kitti_labels, write_kitti_results
from lidar_rank.kitti.infos import read_image_sizes
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.kitti.predictions import objects_without_camera
from lidar_rank.kitti.range import describe_range, ignore_outside_range
from lidar_rank.kitti.root import Frame
from lidar_rank.mm.registry import METRICS
from lidar_rank.page import Results


class ScanAP(BaseMetric):
    """AP from the label files of the frames that were tested; what is computed is left to derived classes.

    Calibration and labels are those of the folder that a scan comes from, ``training`` or ``testing``. Where that
    folder has no ``label_2``, as in KITTI's test split, result files are written and no AP is computed.

    Args:
        data_root: Root, with ``ann_file``.
        ann_file: Annotation file of the tested split.
        point_cloud_range: ``(x_min, y_min, z_min, x_max, y_max, z_max)`` that the detector sees, in metres. Objects
            whose centre lies outside, seen from above, are ignored. None counts every object.
        extra_overlaps: IoU thresholds evaluated beside those of the classes.
        sampling: Of recall: ``"official"``, or ``"recall"`` for sets with fewer than 41 objects, on which the
            benchmark's AP cannot reach 100; with many objects both agree.
        result_dir: Folder for result files, one per frame; None writes none.
        collect_device: As in ``BaseMetric``.
        prefix: As in ``BaseMetric``.

    Raises:
        FileNotFoundError: there is no ``ann_file``.
        ValueError: ``ann_file`` is damaged.
    """

    title = "AP"
    has_difficulties = False  # whether KITTI's difficulties say which objects count
    bands_m: Sequence[float] = BAND_EDGES_M  # where the bands of the page begin

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

    @abstractmethod
    def evaluate_objects(self, objects: KittiObjects, detections: KittiObjects) -> KittiResult:
        """Compute AP."""

    @abstractmethod
    def as_objects(self, frame: Frame, boxes: np.ndarray, names: np.ndarray, scores: np.ndarray) -> KittiObjects:
        """Turn the boxes of a scan into detections."""

    def name_values(self, result: KittiResult) -> dict[str, float]:
        """AP by ``class/metric/recall/level``."""
        return {
            f"{class_name}/{metric}/{recall}/{level}": value
            for class_name, by_metric in result.ap_percent().items()
            for metric, by_recall in by_metric.items()
            for recall, values in by_recall.items()
            for level, value in zip(result.levels, values, strict=True)
        }

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:  # noqa: ARG002 - the host's signature
        """Keep the boxes of a batch."""
        for sample in data_samples:
            name = Frame.of_scan(Path(sample["lidar_path"])).name
            if name not in self.image_sizes:
                raise ValueError(
                    f"{self.ann_file} has no frame {name}: give {type(self).__name__} the ann_file of the test set"
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
        result = self.evaluate_objects(objects, detections)
        result = replace(result, object_choice=describe_range(self.point_cloud_range))
        self.compared = Results(
            files=tuple(Path(lidar_path).absolute() for lidar_path, *_ in results),
            is_3d=True,
            has_difficulties=self.has_difficulties,
            min_overlap=result.min_overlap,
            sampling=self.sampling,
            objects=objects,
            detections=detections,
            bands_m=self.bands_m,
        )
        print_log(f"{self.title} of {len(frames)} frames\n{format_table(result)}", logger="current")
        if not len(detections):
            print_log(
                "There is no detection in any frame: every score is below the test's threshold, score_thr of"
                " model.test_cfg, or the training has failed.",
                logger="current",
                level=logging.WARNING,
            )
        return self.name_values(result)

    def _detections(self, frame: Frame, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> KittiObjects:
        # Early in training exp() of a size overflows now and then: such a box is nowhere.
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 3:6] > 0).all(axis=1) & np.isfinite(scores)
        names = np.array(self.dataset_meta["classes"])[labels[usable]]
        return self.as_objects(frame, boxes[usable], names, scores[usable])


@METRICS.register_module()
class KittiAP(ScanAP):
    """AP of the KITTI benchmark.

    Metrics are named ``kitti/Car/3d/R40/moderate`` and so on, in percent; ``kitti/Car/3d@0.5/...`` at an extra
    threshold.

    Args:
        *args: As of :class:`ScanAP`.
        **kwargs: As of :class:`ScanAP`.

    Raises:
        FileNotFoundError: there is no ``ann_file``.
        ValueError: ``ann_file`` is damaged, or of scans without a camera.
    """

    default_prefix = "kitti"
    title = "KITTI AP"
    has_difficulties = True

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if None in self.image_sizes.values():
            raise ValueError(
                f"{self.ann_file} is of scans without a camera, of whose image KITTI's levels are made: evaluate them"
                " with lidar_rank.DistanceAP, as second_own_small does"
            )

    def evaluate_objects(self, objects: KittiObjects, detections: KittiObjects) -> KittiResult:
        """Compute AP by difficulty."""
        return evaluate_kitti(
            objects,
            detections,
            classes=self.dataset_meta["classes"],
            extra_overlaps=self.extra_overlaps,
            sampling=self.sampling,
        )

    def as_objects(self, frame: Frame, boxes: np.ndarray, names: np.ndarray, scores: np.ndarray) -> KittiObjects:
        """Turn the boxes of a scan into detections; those outside the image are left out."""
        calibration = read_calibration(frame.calibration_path)
        return objects_from_lidar(frame.name, boxes, names, calibration, self.image_sizes[frame.name], scores=scores)


@METRICS.register_module()
class DistanceAP(ScanAP):
    """AP in bands of distance, for scans without a camera; see :func:`lidar_rank.evaluation.evaluate_by_distance`.

    Metrics are named ``lidar/Car/3d/R40/0-30m`` and so on, in percent; ``lidar/mean/3d/R40/all`` is the mean over the
    classes that have objects. A level without objects of a class has no metric.

    Args:
        *args: As of :class:`ScanAP`.
        bands_m: Where bands begin, in metres.
        min_overlap: IoU that a detection must exceed, by class; by default KITTI's for its classes, 0.5 for others.
        sampling: As of :class:`ScanAP`.
        **kwargs: As of :class:`ScanAP`.

    Raises:
        FileNotFoundError: there is no ``ann_file``.
        ValueError: ``ann_file`` is damaged.
    """

    default_prefix = "lidar"
    title = "AP by distance"

    def __init__(
        self,
        *args,
        bands_m: Sequence[float] = BAND_EDGES_M,
        min_overlap: Mapping[str, float] | None = None,
        sampling: str = "recall",
        **kwargs,
    ) -> None:
        super().__init__(*args, sampling=sampling, **kwargs)
        check_edges(bands_m)
        self.bands_m = bands_m
        self.min_overlap = min_overlap

    def evaluate_objects(self, objects: KittiObjects, detections: KittiObjects) -> KittiResult:
        """Compute AP by distance."""
        return evaluate_by_distance(
            objects,
            detections,
            classes=self.dataset_meta["classes"],
            min_overlap=self.min_overlap,
            extra_overlaps=self.extra_overlaps,
            edges_m=self.bands_m,
            sampling=self.sampling,
        )

    def as_objects(self, frame: Frame, boxes: np.ndarray, names: np.ndarray, scores: np.ndarray) -> KittiObjects:
        """Turn the boxes of a scan into detections, wherever they lie."""
        calibration = read_calibration(frame.calibration_path)
        return objects_without_camera(frame.name, boxes, names, scores=scores, calibration=calibration)

    def name_values(self, result: KittiResult) -> dict[str, float]:
        """AP by ``class/metric/recall/level``, and the mean over classes."""
        present = {
            f"{class_name}/{level}"
            for class_name, by_metric in result.curves.items()
            for level, curve in zip(result.levels, by_metric["3d"], strict=True)
            if curve.num_objects
        }
        values = super().name_values(result)
        named = {
            name: value for name, value in values.items() if f"{name.split('/')[0]}/{name.split('/')[-1]}" in present
        }
        for metric in ("bev", "3d"):
            of_all = [value for name, value in named.items() if name.endswith(f"/{metric}/R40/{ALL_BANDS}")]
            named[f"mean/{metric}/R40/{ALL_BANDS}"] = float(np.mean(of_all)) if of_all else 0.0
        return named
