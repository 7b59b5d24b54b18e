"""Matching of anchors with objects: each anchor gets a label and an object, or none."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lidar_rank.geometry.boxes import bev_bounds, checked_boxes, nearest_bev
from lidar_rank.geometry.columns import BEV_OF_3D
from lidar_rank.kernels.assignment import match_anchors, overlapping_pairs, paired_rectangle_iou
from lidar_rank.kernels.rotated_iou import paired_intersection_area
from lidar_rank.shapes import Bool, Float, Float32, Int64

OVERLAPS = ("nearest_bev", "rotated_bev", "3d")


class Assignment(NamedTuple):
    """Training targets of each anchor."""

    labels: Int64[np.ndarray, " anchor"]
    """Class of the matched object, ``num_classes`` for background, -1 for ignored."""
    matched: Int64[np.ndarray, " anchor"]
    """Row of the matched object; -1 where there is none."""
    overlap: Float32[np.ndarray, " anchor"]
    """Largest overlap with any object, matched or not; 0 where the anchor is not usable."""


class Pairs(NamedTuple):
    """The pairs of an object and an anchor that overlap, ordered by object."""

    object_row: Int64[np.ndarray, " pair"]
    anchor_row: Int64[np.ndarray, " pair"]
    iou: Float32[np.ndarray, " pair"]


class AnchorIndex:
    """Anchors that are sorted once, so that each scan compares only those anchors that can overlap an object.

    Args:
        anchors: (A, 7) or wider (further columns are not read), x, y, z_bottom, length, width, height, yaw in metres
            and radians, in any order and of any size. An array or a CPU tensor: copy anchors from a GPU once.
        overlap: ``"nearest_bev"``, IoU of the rectangles turned to the nearest multiple of 90 degrees, in the float32
            arithmetic of mmdet3d's ``BboxOverlapsNearest3D``; ``"rotated_bev"``, IoU of the footprints; or ``"3d"``,
            IoU of the boxes.

    Raises:
        ValueError: ``overlap`` is unknown; a shape is wrong; an anchor is not finite or has a size that is not
            positive.
    """

    def __init__(self, anchors: ArrayLike, overlap: str = "nearest_bev") -> None:
        if overlap not in OVERLAPS:
            raise ValueError(f"overlap must be one of {OVERLAPS}, got {overlap!r}")
        self.overlap = overlap
        boxes = checked_boxes(anchors, "anchors", dtype=np.float32, allow_wider=True)
        rects = self._bounds(boxes)
        self._row = np.argsort(rects[:, 0], kind="stable")
        self._boxes, self._rects = boxes[self._row], rects[self._row]
        self._longest = float(np.ptp(self._rects[:, ::2].astype(np.float64), axis=1).max(initial=0.0))

    def __len__(self) -> int:
        return len(self._row)

    def overlapping(
        self, objects: Float32[np.ndarray, "object 7"], usable: Bool[np.ndarray, " anchor"] | None = None
    ) -> Pairs:
        """Find the pairs of an object and a usable anchor that overlap, and their IoU; None means all anchors."""
        rects = self._bounds(objects)
        i, j = overlapping_pairs(self._rects, self._longest, rects)
        if usable is not None:
            kept = usable[self._row[j]]
            i, j = i[kept], j[kept]
        if self.overlap == "nearest_bev":
            iou = paired_rectangle_iou(rects, self._rects, i, j)
        else:
            iou = _rotated_iou(objects[i], self._boxes[j], with_height=self.overlap == "3d")
        shared = iou > 0
        return Pairs(i[shared], self._row[j[shared]], iou[shared])

    def _bounds(self, boxes: Float32[np.ndarray, "box 7"]) -> Float[np.ndarray, "box 4"]:
        """Return a rectangle around each box; boxes whose rectangles share no area do not overlap."""
        return nearest_bev(boxes) if self.overlap == "nearest_bev" else bev_bounds(boxes.astype(np.float64))


def assign_anchors(
    anchors: AnchorIndex,
    objects: ArrayLike,
    object_labels: ArrayLike,
    *,
    num_classes: int,
    usable: ArrayLike | None = None,
    pos_iou_thr: float = 0.6,
    neg_iou_thr: float = 0.45,
    min_pos_iou: float = 0.45,
    gt_max_assign_all: bool = True,
) -> Assignment:
    """Match the anchors of one scan with its objects, as mmdet3d's ``Max3DIoUAssigner`` does.

    1. An anchor whose largest overlap is below ``neg_iou_thr`` is background; one at or above ``pos_iou_thr`` gets the
       object it overlaps most (the first of equal ones); one in between is ignored.
    2. Each object whose largest overlap reaches ``min_pos_iou`` is matched with all anchors that have this overlap,
       whatever step 1 gave them; where two objects claim the same anchor, the later object gets it.

    Step 2 requires an overlap above zero as well. (With ``min_pos_iou=0`` mmdet3d matches an object that overlaps no
    anchor with every anchor.) Overlaps and thresholds are compared in float32, as in mmdet3d.

    Args:
        anchors: Built once per anchor set. One of "car" anchors with the objects of all classes, or one per class with
            the objects of that class, as the detector's config says.
        objects: (N, 7) or wider (further columns are not read), boxes in the anchors' frame; an array or a CPU tensor.
        object_labels: (N,) class of each object, 0 to num_classes - 1.
        num_classes: Label of background.
        usable: (A,) booleans: anchors that take part. The others are ignored and match no object. None: all do.
        pos_iou_thr: Overlap from which an anchor is positive.
        neg_iou_thr: Overlap below which an anchor is background, above 0 and at most ``pos_iou_thr``.
        min_pos_iou: Overlap from which step 2 applies; a value above 1 turns it off.
        gt_max_assign_all: Step 2 matches an object with all of its best anchors, not only the first.

    Returns:
        Labels, matched objects and overlaps. Without objects all usable anchors are background; without anchors the
        result is empty.

    Raises:
        ValueError: thresholds are out of order; shapes or labels are wrong; an object is not finite or has a size that
            is not positive.
    """
    checked_thresholds(pos_iou_thr, neg_iou_thr)
    boxes, classes = (
        checked_boxes(objects, "objects", dtype=np.float32, allow_wider=True),
        _checked_labels(object_labels, num_classes),
    )
    if len(boxes) != len(classes):
        raise ValueError(f"each object needs a label, got {len(boxes)} objects and {len(classes)} labels")
    mask = None if usable is None else _checked_mask(usable, len(anchors))
    matched, overlap = match_anchors(
        *anchors.overlapping(boxes, mask),
        len(boxes),
        len(anchors),
        np.float32(pos_iou_thr),
        np.float32(neg_iou_thr),
        np.float32(min_pos_iou),
        gt_max_assign_all,
    )
    # One table from match to label: the objects' classes, then IGNORED and BACKGROUND, which index it from its end.
    labels = np.concatenate([classes, [-1, num_classes]])[matched]
    if mask is not None:
        labels[~mask] = -1
    return Assignment(labels, np.maximum(matched, -1), overlap)


def checked_thresholds(pos_iou_thr: float, neg_iou_thr: float) -> None:
    """Refuse thresholds that are out of order."""
    if not 0 < neg_iou_thr <= pos_iou_thr:
        raise ValueError(f"thresholds must satisfy 0 < neg_iou_thr <= pos_iou_thr, got {neg_iou_thr=}, {pos_iou_thr=}")


def _checked_labels(labels: ArrayLike, num_classes: int) -> Int64[np.ndarray, " object"]:
    array = np.asarray(labels, dtype=np.int64)
    bad = np.flatnonzero((array < 0) | (array >= num_classes))
    if len(bad):
        raise ValueError(f"object {bad[0]} must have a label in 0..{num_classes - 1}, got {array[bad[0]]}")
    return array


def _checked_mask(usable: ArrayLike, num_anchors: int) -> Bool[np.ndarray, " anchor"]:
    mask = np.asarray(usable)
    if mask.dtype != np.bool_ or mask.shape != (num_anchors,):
        raise ValueError(
            f"usable must be {num_anchors} booleans, one for each anchor, got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def _rotated_iou(
    a: Float32[np.ndarray, "pair 7"], b: Float32[np.ndarray, "pair 7"], *, with_height: bool
) -> Float32[np.ndarray, " pair"]:
    """IoU of the footprints, or of the boxes, row by row.

    The result is rounded to float32, so that equal overlaps stay equal. It is negative for boxes above each other.
    """
    a, b, row = a.astype(np.float64), b.astype(np.float64), np.arange(len(a))
    intersection = paired_intersection_area(a[:, BEV_OF_3D], b[:, BEV_OF_3D], row, row)
    size_a, size_b = a[:, 3] * a[:, 4], b[:, 3] * b[:, 4]
    if with_height:
        rise = b[:, 2] - a[:, 2]
        intersection *= np.minimum(a[:, 5], rise + b[:, 5]) - np.maximum(rise, 0)
        size_a, size_b = size_a * a[:, 5], size_b * b[:, 5]
    return (intersection / (size_a + size_b - intersection)).astype(np.float32)
