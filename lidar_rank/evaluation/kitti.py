"""KITTI average precision of a set of detections: image, bird's eye view, 3D and orientation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from lidar_rank.evaluation.average_precision import NUM_SAMPLES, PrecisionCurve, average, precision_curve
from lidar_rank.evaluation.matching import Matcher
from lidar_rank.evaluation.overlaps import Overlaps, compute_overlaps
from lidar_rank.evaluation.rules import METRICS, MIN_OVERLAP, detection_roles, has_orientation, object_roles
from lidar_rank.kitti.difficulty import DIFFICULTIES
from lidar_rank.kitti.labels import KittiObjects

LEVELS: Final = tuple(difficulty.name for difficulty in DIFFICULTIES)
NO_AP: Final = "-"
# Matchers by level and metric, of a class at an IoU threshold.
Match: TypeAlias = Callable[[Overlaps, str, float], Mapping[tuple[str, str], Matcher]]


@dataclass(frozen=True)
class KittiResult:
    """Precision curves of an evaluation.

    Attributes:
        curves: ``curves[class_name][metric]`` holds one curve per level, easy to hard; metrics are ``"bbox"``,
            ``"bev"`` and ``"3d"``, and at an extra threshold ``"bbox@0.5"`` and so on.
        min_overlap: IoU that a detection of each class had to exceed.
        extra_overlaps: Further IoU thresholds, the same for every class.
        has_orientation: Whether every detection has an observation angle; without it there is no AOS.
        num_frames: Frames evaluated.
        sampling: Where precision was sampled, see :func:`.precision_curve`.
        frame_choice: Which frames were evaluated, in words; set by :func:`evaluate_folders`.
        object_choice: Which objects count, in words, where it is not all.
        levels: Names of the levels: KITTI's difficulties, or bands of distance.
    """

    curves: Mapping[str, Mapping[str, tuple[PrecisionCurve, ...]]]
    min_overlap: Mapping[str, float]
    extra_overlaps: tuple[float, ...]
    has_orientation: bool
    num_frames: int
    sampling: str
    frame_choice: str = ""
    object_choice: str = ""
    levels: tuple[str, ...] = LEVELS

    def ap_percent(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Average precision, ready for JSON.

        Returns:
            ``{"Car": {"bbox": {"R11": [easy, moderate, hard], "R40": [...]}, "bev": ..., "3d": ..., "aos": ...}}``;
            without orientation there is no ``"aos"``. Extra thresholds add ``"bbox@0.5"`` and so on. By distance there
            are ``"bev"`` and ``"3d"`` alone, and a level without objects has 0.
        """
        return {
            class_name: {metric: _by_difficulty(samples) for metric, samples in self._samples(class_name)}
            for class_name in self.curves
        }

    def _samples(self, class_name: str) -> Iterator[tuple[str, list[np.ndarray]]]:
        curves = self.curves[class_name]
        for suffix in ("", *map(_suffix, self.extra_overlaps)):
            for metric in [metric for metric in METRICS if metric + suffix in curves]:
                yield metric + suffix, [curve.precision for curve in curves[metric + suffix]]
            if self.has_orientation and "bbox" in curves:
                yield f"aos{suffix}", [curve.orientation_similarity for curve in curves[f"bbox{suffix}"]]


def _suffix(extra_overlap: float) -> str:
    """What the names of metrics at an extra threshold end with."""
    return f"@{extra_overlap:g}"


def _by_difficulty(samples: Sequence[np.ndarray]) -> dict[str, list[float]]:
    averages = [average(curve) for curve in samples]
    return {name: [values[name] for values in averages] for name in averages[0]}


def evaluate_kitti(
    ground_truth: KittiObjects,
    detections: KittiObjects,
    *,
    classes: Sequence[str] = tuple(MIN_OVERLAP),
    min_overlap: Mapping[str, float] = MIN_OVERLAP,
    extra_overlaps: Sequence[float] = (),
    drop_at_min_height: bool = False,
    sampling: str = "official",
) -> KittiResult:
    """Evaluate detections like the KITTI object benchmark.

    Args:
        ground_truth: All objects of the frames, ``DontCare`` areas included.
        detections: Detections in the same frames, in the same order.
        classes: Upper and lower case are the same.
        min_overlap: IoU that a detection must exceed, by class.
        extra_overlaps: Further IoU thresholds at which every class is evaluated too; the overlaps are computed once.
        drop_at_min_height: Whether objects of exactly the minimum image height (40, 25, 25 pixels) are ignored. The
            benchmark's program kept them when most published results were made; its later versions, OpenPCDet and
            mmdet3d ignore them. The difference is at most some hundredths of a percent.
        sampling: ``"official"``, or ``"recall"`` for sets with fewer than 41 objects, see :func:`.precision_curve`.

    Raises:
        ValueError: the frames differ or there are none, a score is not finite, a class has no ``min_overlap``, a
            threshold is not within [0, 1), or ``sampling`` is unknown.
    """

    def match(overlaps: Overlaps, class_name: str, min_iou: float) -> dict[tuple[str, str], Matcher]:
        return match_class(overlaps, ground_truth, detections, class_name, min_iou, drop_at_min_height)

    return evaluate_levels(
        ground_truth,
        detections,
        match,
        levels=LEVELS,
        metrics=METRICS,
        classes=classes,
        min_overlap=min_overlap,
        extra_overlaps=extra_overlaps,
        sampling=sampling,
    )


def evaluate_levels(
    ground_truth: KittiObjects,
    detections: KittiObjects,
    match: Match,
    *,
    levels: Sequence[str],
    metrics: Sequence[str],
    classes: Sequence[str],
    min_overlap: Mapping[str, float],
    extra_overlaps: Sequence[float],
    sampling: str,
) -> KittiResult:
    """Evaluate detections with any division of objects into levels.

    Args:
        ground_truth: As in :func:`evaluate_kitti`.
        detections: As in :func:`evaluate_kitti`.
        match: Gives a matcher for each level and metric.
        levels: Names of the levels.
        metrics: Among ``METRICS``.
        classes: As in :func:`evaluate_kitti`.
        min_overlap: As in :func:`evaluate_kitti`.
        extra_overlaps: As in :func:`evaluate_kitti`.
        sampling: As in :func:`evaluate_kitti`.

    Raises:
        ValueError: as in :func:`evaluate_kitti`.
    """
    _check_frames(ground_truth, detections)
    thresholds = {class_name: _threshold(class_name, min_overlap) for class_name in classes}
    extras = {_suffix(overlap): _checked_threshold(overlap, "extra_overlaps") for overlap in extra_overlaps}
    overlaps = compute_overlaps(ground_truth, detections)
    curves: dict[str, dict[str, tuple[PrecisionCurve, ...]]] = {}
    for class_name, threshold in thresholds.items():
        curves[class_name] = {}
        for suffix, min_iou in ({"": threshold} | extras).items():
            matchers = match(overlaps, class_name, min_iou)
            for metric in metrics:
                of_metric = [matchers[level, metric] for level in levels]
                curves[class_name][metric + suffix] = tuple(precision_curve(each, sampling) for each in of_metric)
    num_frames = len(ground_truth.frame_ids)
    return KittiResult(
        curves,
        thresholds,
        tuple(extras.values()),
        has_orientation(detections),
        num_frames,
        sampling,
        levels=tuple(levels),
    )


def match_class(
    overlaps: Overlaps,
    ground_truth: KittiObjects,
    detections: KittiObjects,
    class_name: str,
    min_overlap: float,
    drop_at_min_height: bool = False,
) -> dict[tuple[str, str], Matcher]:
    """Match the objects and detections of one class.

    Args:
        overlaps: From :func:`compute_overlaps`, of the same two tables.
        ground_truth: As in :func:`evaluate_kitti`.
        detections: As in :func:`evaluate_kitti`.
        class_name: Upper and lower case are the same.
        min_overlap: IoU that a detection must exceed.
        drop_at_min_height: As in :func:`evaluate_kitti`.

    Returns:
        A matcher for each difficulty and metric; ``match_class(...)["hard", "3d"].decisions(0.5)`` says what becomes of
        each object and detection when detections that score below 0.5 are left out.
    """
    roles = zip(
        DIFFICULTIES,
        object_roles(ground_truth, class_name, drop_at_min_height=drop_at_min_height),
        detection_roles(detections, class_name),
        strict=True,
    )
    return {
        (difficulty.name, metric): Matcher(overlaps, column, min_overlap, object_role, detection_role, detections.score)
        for difficulty, object_role, detection_role in roles
        for column, metric in enumerate(METRICS)
    }


def _check_frames(ground_truth: KittiObjects, detections: KittiObjects) -> None:
    expected, got = list(ground_truth.frame_ids), list(detections.frame_ids)
    if not expected:
        raise ValueError("there are no frames to evaluate")
    if expected != got:
        differ = [pair for pair in zip(expected, got, strict=False) if pair[0] != pair[1]]
        first = f"; first {differ[0][0]!r} against {differ[0][1]!r}" if differ else ""
        raise ValueError(
            f"ground truth and detections must be of the same frames in the same order, "
            f"got {len(expected)} and {len(got)} frames{first}"
        )
    if not np.isfinite(detections.score).all():
        raise ValueError("every detection needs a finite score; label files have none, result files do")


def _threshold(class_name: str, min_overlap: Mapping[str, float]) -> float:
    by_lower_name = {name.lower(): value for name, value in min_overlap.items()}
    if class_name.lower() not in by_lower_name:
        raise ValueError(f"no IoU threshold for class {class_name!r}, only for {list(min_overlap)}: pass min_overlap")
    return _checked_threshold(by_lower_name[class_name.lower()], f"min_overlap of {class_name}")


def _checked_threshold(threshold: float, name: str) -> float:
    if not 0 <= threshold < 1:
        raise ValueError(f"{name} must be within [0, 1), got {threshold}")
    return threshold


def format_table(result: KittiResult) -> str:
    """A table to read: AP in percent, by class, metric, recall samples and difficulty."""
    lines = ["".join([f"{'AP %':<24}", *(f"{name:>20}" for name in result.levels)])]
    lines.append(f"{f'{result.num_frames} frames':<24}" + f"{'R11':>10}{'R40':>10}" * len(result.levels))
    for class_name, by_metric in result.ap_percent().items():
        for metric, ap in by_metric.items():
            name, _, extra_overlap = metric.partition("@")
            own_overlap = f"{result.min_overlap[class_name]:g}"
            if extra_overlap == own_overlap:
                continue
            label = f"{class_name} {name} @{extra_overlap or own_overlap}"
            present = _has_objects(result, class_name)
            cells = [
                f"{r11:>10.2f}{r40:>10.2f}" if has_objects else f"{NO_AP:>10}" * 2
                for r11, r40, has_objects in zip(ap["R11"], ap["R40"], present, strict=True)
            ]
            lines.append(f"{label:<24}" + "".join(cells))
    return "\n".join(lines + _notes(result))


def _has_objects(result: KittiResult, class_name: str) -> list[bool]:
    """Whether AP of each level means something; the benchmark prints 0 at a difficulty without objects."""
    return [result.levels == LEVELS or curve.num_objects > 0 for curve in result.curves[class_name]["3d"]]


def _notes(result: KittiResult) -> list[str]:
    """Lines below the table: which frames and objects were evaluated, and which classes have too few objects."""
    notes = [f"frames: {result.frame_choice}"] if result.frame_choice else []
    if result.object_choice:
        notes.append(f"objects: {result.object_choice}")
    counts = {
        f"{class_name} {level}": curve.num_objects
        for class_name, by_metric in result.curves.items()
        for level, curve in zip(result.levels, by_metric["3d"], strict=True)
    }
    few = [f"{name} {count}" for name, count in counts.items() if count < NUM_SAMPLES]
    if not all(has_objects for class_name in result.curves for has_objects in _has_objects(result, class_name)):
        notes.append(f"{NO_AP}: there is no object of the class, so that there is no AP")
    if few and result.sampling == "official":
        notes.append(f"objects: {', '.join(few)}; the benchmark's AP stays below 100 with fewer than {NUM_SAMPLES}")
    return notes
