"""The KITTI object evaluation, frame by frame and pair by pair, in plain Python; Shapely clips the polygons.

A frame is a list of objects and a list of detections.
"""

import math
from dataclasses import dataclass, field
from functools import cache

from shapely.geometry import Polygon

MIN_HEIGHT = {"easy": 40, "moderate": 25, "hard": 25}
MAX_OCCLUSION = {"easy": 0, "moderate": 1, "hard": 2}
MAX_TRUNCATION = {"easy": 0.15, "moderate": 0.3, "hard": 0.5}
NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting"}


@dataclass(frozen=True, eq=False)
class Thing:
    """An object or a detection; pixels, metres in the camera frame, radians."""

    name: str = "Car"
    truncation: float = 0.0
    occlusion: float = 0.0
    alpha: float = 0.0
    bbox: tuple = (100.0, 100.0, 200.0, 150.0)  # left, top, right, bottom
    size: tuple = (1.5, 1.6, 4.0)  # height, width, length
    location: tuple = (0.0, 1.6, 20.0)
    yaw: float = 0.0
    score: float = math.nan


@cache
def overlap(detection, thing, metric, own_size_only=False):
    """Intersection over union, or over the size of the detection alone."""
    if metric == "bbox":
        a, b = detection.bbox, thing.bbox
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        if width <= 0 or height <= 0:
            return 0.0
        intersection = width * height
        size_a, size_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    else:
        intersection = footprint(detection, detection).intersection(footprint(thing, detection)).area
        size_a, size_b = (abs(x.size[1] * x.size[2]) for x in (detection, thing))
        if metric == "3d":
            bottom = min(detection.location[1], thing.location[1])
            top = max(x.location[1] - x.size[0] for x in (detection, thing))
            intersection *= max(0.0, bottom - top)
            size_a, size_b = size_a * abs(detection.size[0]), size_b * abs(thing.size[0])
        if intersection == 0:
            return 0.0
    return intersection / (size_a if own_size_only else size_a + size_b - intersection)


def footprint(thing, origin):
    """The rectangle in the x-z plane of the camera, seen from ``origin``."""
    _, width, length = thing.size
    x, z = (thing.location[i] - origin.location[i] for i in (0, 2))
    cos, sin = math.cos(thing.yaw), math.sin(thing.yaw)
    corners = [(length / 2, width / 2), (length / 2, -width / 2), (-length / 2, -width / 2), (-length / 2, width / 2)]
    return Polygon([(x + cos * along + sin * across, z - sin * along + cos * across) for along, across in corners])


@dataclass
class FrameDecisions:
    objects: list
    detections: list
    detection_of_object: list
    true_scores: list = field(default_factory=list)
    similarity: float = 0.0


def object_role(thing, class_name, difficulty, drop_at_min_height):
    name, height = thing.name.lower(), thing.bbox[3] - thing.bbox[1]
    too_low = height <= MIN_HEIGHT[difficulty] if drop_at_min_height else height < MIN_HEIGHT[difficulty]
    hard = thing.occlusion > MAX_OCCLUSION[difficulty] or thing.truncation > MAX_TRUNCATION[difficulty] or too_low
    if name == class_name.lower():
        return "ignored" if hard else "valid"
    return "ignored" if name == NEIGHBOUR.get(class_name.lower()) else "none"


def detection_role(detection, class_name, difficulty):
    if int(abs(detection.bbox[1] - detection.bbox[3])) < MIN_HEIGHT[difficulty]:
        return "ignored"
    return "valid" if detection.name.lower() == class_name.lower() else "none"


def decide(objects, detections, class_name, difficulty, metric, min_overlap, threshold=None, drop_at_min_height=False):
    """Decisions in one frame. Without a threshold: the pass that collects the scores of the true positives."""
    role = [object_role(o, class_name, difficulty, drop_at_min_height) for o in objects]
    detection_roles = [detection_role(d, class_name, difficulty) for d in detections]
    usable = [
        r != "none" and (threshold is None or d.score >= threshold)
        for r, d in zip(detection_roles, detections, strict=True)
    ]
    assigned = [False] * len(detections)
    out = FrameDecisions(["-"] * len(objects), ["-"] * len(detections), [-1] * len(objects))
    for i, thing in enumerate(objects):
        if role[i] == "none":
            continue
        chosen, best_score, best_overlap, chosen_is_ignored = -1, -10000000, 0, False
        for j, detection in enumerate(detections):
            if not usable[j] or assigned[j]:
                continue
            amount = overlap(detection, thing, metric)
            if not amount > min_overlap:
                continue
            if threshold is None:
                if detection.score > best_score:
                    chosen, best_score = j, detection.score
            elif detection_roles[j] == "valid" and (amount > best_overlap or chosen_is_ignored):
                chosen, best_overlap, chosen_is_ignored = j, amount, False
            elif detection_roles[j] == "ignored" and chosen == -1:
                chosen, chosen_is_ignored = j, True
        out.detection_of_object[i] = chosen
        if chosen == -1:
            out.objects[i] = "FN" if role[i] == "valid" else "ignored"
            continue
        assigned[chosen] = True
        hit = role[i] == "valid" and detection_roles[chosen] == "valid"
        out.objects[i] = out.detections[chosen] = "TP" if hit else "ignored"
        if hit:
            out.true_scores.append(detections[chosen].score)
            out.similarity += (1 + math.cos(thing.alpha - detections[chosen].alpha)) / 2
    areas = [o for o in objects if o.name.lower() == "dontcare"]
    for j, detection in enumerate(detections):
        if usable[j] and not assigned[j]:
            excused = any(overlap(detection, area, metric, own_size_only=True) > min_overlap for area in areas)
            out.detections[j] = "ignored" if excused or detection_roles[j] == "ignored" else "FP"
    return out


def score_thresholds(true_scores, num_objects):
    """The scores at which recall comes nearest to 0, 1/40, 2/40, ..."""
    scores = sorted(true_scores, reverse=True)
    chosen, recall_wanted = [], 0.0
    for i, score in enumerate(scores):
        left = (i + 1) / num_objects
        right = (i + 2) / num_objects if i < len(scores) - 1 else left
        if right - recall_wanted < recall_wanted - left and i < len(scores) - 1:
            continue
        chosen.append(score)
        recall_wanted += 1.0 / 40.0
    return chosen


def curve(frames, class_name, difficulty, metric, min_overlap, drop_at_min_height=False):
    """Score thresholds, (TP, FP, FN) at each, 41 precisions and 41 orientation similarities."""
    options = (class_name, difficulty, metric, min_overlap)
    collected = [decide(*frame, *options, drop_at_min_height=drop_at_min_height) for frame in frames]
    num_objects = sum(
        object_role(o, class_name, difficulty, drop_at_min_height) == "valid" for objects, _ in frames for o in objects
    )
    thresholds = score_thresholds([s for frame in collected for s in frame.true_scores], num_objects)
    counts, precision, similarity = [], [0.0] * 41, [0.0] * 41
    for k, threshold in enumerate(thresholds):
        decided = [decide(*frame, *options, threshold, drop_at_min_height) for frame in frames]
        tp, fn = (sum(frame.objects.count(kind) for frame in decided) for kind in ("TP", "FN"))
        fp = sum(frame.detections.count("FP") for frame in decided)
        counts.append((tp, fp, fn))
        if tp + fp:
            precision[k] = tp / (tp + fp)
            similarity[k] = sum(frame.similarity for frame in decided) / (tp + fp)
    precision = [max(precision[k:]) for k in range(41)]
    similarity = [max(similarity[k:]) for k in range(41)]
    return thresholds, counts, precision, similarity


def average_precision(samples):
    """R11 and R40 in percent."""
    return 100 * sum(samples[::4]) / 11, 100 * sum(samples[1:]) / 40
