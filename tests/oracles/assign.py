"""Anchor assignment by full matrices in float64 and plain loops, from the written rules."""

import math

import numpy as np

from tests.oracles import rotated_iou


def nearest_rectangle(box):
    x, y, _, length, width, _, yaw = box
    quarter_turns = round(yaw / (math.pi / 2))
    if quarter_turns % 2:
        length, width = width, length
    return x - length / 2, y - width / 2, x + length / 2, y + width / 2


def rectangle_iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high)


def overlaps(objects, anchors, kind):
    """(N, A) float64."""
    if kind == "nearest_bev":
        rows, columns = ([nearest_rectangle(box) for box in boxes.tolist()] for boxes in (objects, anchors))
        return np.array([[rectangle_iou(o, a) for a in columns] for o in rows]).reshape(len(objects), len(anchors))
    a, b = np.repeat(objects, len(anchors), 0), np.tile(anchors, (len(objects), 1))
    if kind == "3d":
        iou = rotated_iou.paired_iou_3d(a, b)
    else:
        iou = rotated_iou.paired_iou_bev(a[:, [0, 1, 3, 4, 6]], b[:, [0, 1, 3, 4, 6]])
    return iou.reshape(len(objects), len(anchors))


def assign(iou, classes, num_classes, pos_iou_thr, neg_iou_thr, min_pos_iou, gt_max_assign_all):
    """Labels and matched objects of the columns of ``iou`` (N, A)."""
    labels, matched = [], []
    for column in iou.T:
        best = int(np.argmax(column)) if len(column) else -1
        value = column[best] if len(column) else 0.0
        if value >= pos_iou_thr:
            labels.append(classes[best])
            matched.append(best)
        else:
            labels.append(num_classes if value < neg_iou_thr else -1)
            matched.append(-1)
    for i, row in enumerate(iou):
        top = row.max(initial=0.0)
        if top > 0 and top >= min_pos_iou:
            ties = np.flatnonzero(row == top)
            for a in ties if gt_max_assign_all else ties[:1]:
                labels[a], matched[a] = classes[i], i
    return np.array(labels, np.int64), np.array(matched, np.int64)


def occupied_columns(anchors, voxels_zyx, voxel_size_m, range_m):
    """Number of distinct occupied columns whose centre lies in the nearest rectangle of each anchor."""
    columns = {(int(y), int(x)) for _, y, x in voxels_zyx}
    counts = []
    for anchor in anchors:
        x_min, y_min, x_max, y_max = nearest_rectangle(anchor)
        centres = [
            (range_m[0] + (x + 0.5) * voxel_size_m[0], range_m[1] + (y + 0.5) * voxel_size_m[1]) for y, x in columns
        ]
        counts.append(sum(x_min <= x < x_max and y_min <= y < y_max for x, y in centres))
    return np.array(counts)
