"""Frames full of ties and special cases, for the evaluator and for its oracle."""

from dataclasses import replace
from itertools import chain

import numpy as np

from lidar_rank.kitti.labels import KittiObjects
from tests.oracles.kitti_eval import Thing

NAMES = ("Car", "Car", "car", "Van", "Pedestrian", "PEDESTRIAN", "Person_sitting", "Cyclist", "Truck", "DontCare")
UNKNOWN = {"alpha": -10.0, "size": (-1.0,) * 3, "location": (-1000.0,) * 3, "yaw": -10.0}
SCORES = (0.1, 0.3, 0.3, 0.5, 0.9, 1.0, 1.7, -2.0)


def random_frames(seed, num_frames=40):
    """Lists of objects and detections; about a tenth of the frames lack one or the other."""
    rng = np.random.default_rng(seed)
    return [_random_frame(rng) for _ in range(num_frames)]


def _random_frame(rng):
    objects = [_random_object(rng) for _ in range(rng.integers(1, 7))] if rng.random() > 0.05 else []
    detections = [
        _random_detection(rng, base)
        for base in objects
        for _ in range(rng.choice([0, 1, 2, 3], p=[0.2, 0.4, 0.3, 0.1]))
    ]
    detections += [_random_detection(rng, _random_object(rng)) for _ in range(rng.integers(0, 3))]
    if rng.random() < 0.05:
        detections = []
    rng.shuffle(detections)
    return objects, detections


def _random_object(rng):
    """Image boxes on a grid of 5 pixels: heights of exactly 25 and 40 and equal overlaps are common."""
    left, top = 5 * rng.integers(0, 12, 2)
    width, height = 5 * rng.integers(4, 8), 5 * rng.integers(4, 11)
    thing = Thing(
        name=str(rng.choice(NAMES)),
        truncation=float(rng.choice([0.0, 0.0, 0.15, 0.3, 0.31, 0.6])),
        occlusion=float(rng.choice([0, 0, 0, 0, 1, 2, 3])),
        alpha=rng.uniform(-3, 3),
        bbox=tuple(map(float, (left, top, left + width, top + height))),
        size=tuple(rng.uniform(1.5, 4, 3)),
        location=(rng.uniform(-4, 4), rng.uniform(1, 2), rng.uniform(20, 28)),
        yaw=rng.uniform(-3, 3),
    )
    return replace(thing, **UNKNOWN) if thing.name == "DontCare" else thing


def _random_detection(rng, base):
    """``base`` itself, moved a little, or of another class; one score in a few."""
    detection = replace(base, score=float(rng.choice(SCORES)), truncation=-1.0, occlusion=-1.0)
    if base.name in ("DontCare", "Van", "Truck") or rng.random() < 0.2:
        detection = replace(detection, name=str(rng.choice(["Car", "Pedestrian", "Cyclist"])))
    if rng.random() < 0.4:
        return detection
    return replace(
        detection,
        bbox=tuple(map(float, np.add(base.bbox, 5 * np.tile(rng.integers(-1, 2, 2), 2)))),
        location=tuple(np.add(base.location, rng.normal(0, 0.15, 3))),
        yaw=base.yaw + rng.normal(0, 0.1),
        alpha=base.alpha + rng.normal(0, 1),
    )


def to_table(frames):
    """The same things as arrays."""
    things = list(chain.from_iterable(frames))
    columns = {
        column: np.array([getattr(thing, key) for thing in things], dtype=float).reshape(len(things), *shape)
        for column, key, shape in (
            ("truncation", "truncation", ()),
            ("occlusion", "occlusion", ()),
            ("alpha_rad", "alpha", ()),
            ("bbox_px", "bbox", (4,)),
            ("size_m", "size", (3,)),
            ("location_m", "location", (3,)),
            ("yaw_rad", "yaw", ()),
        )
    }
    return KittiObjects(
        frame_ids=tuple(f"{i:06d}" for i in range(len(frames))),
        frame_start=np.cumsum([0, *map(len, frames)]),
        name=np.array([thing.name for thing in things], dtype=np.str_),
        score=np.array([thing.score for thing in things], dtype=float),
        **columns,
    )


def tables(frames):
    """Ground truth and detections."""
    objects, detections = zip(*frames, strict=True)
    return to_table(objects), to_table(detections)
