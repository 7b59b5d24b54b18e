"""Writing the page: data packed into one HTML file beside the viewer."""

import base64
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy import ndarray

from lidar_rank.page.scene import NOTHING, Scene, match_boxes
from lidar_rank.shapes import Float

MAX_POINTS: Final = 30_000  # of a scan: 7 bytes each, so that 200 scans stay below 60 MB
MIN_OVERLAP: Final = 0.5
LARGEST: Final = 65535


def render_page(scenes: Sequence[Scene], title: str, *, min_overlap: float = MIN_OVERLAP) -> str:
    """Return the text of a page that shows scans and boxes.

    The page asks for nothing from anywhere. It has a slider for the score, a table of boxes that selects them, and keys
    that the page lists.

    Args:
        scenes: At least one.
        title: Of the page.
        min_overlap: 3D IoU above which a prediction counts as found, where there are labels.

    Raises:
        ValueError: there is no scene.
    """
    if not scenes:
        raise ValueError("a page needs at least one scan")
    folder = files(__package__)
    data = json.dumps({"min_overlap": min_overlap, "scenes": [_pack(scene, min_overlap) for scene in scenes]})
    parts = {
        "__TITLE__": html.escape(title),
        "__STYLE__": folder.joinpath("viewer.css").read_text(encoding="utf-8"),
        "__SCRIPT__": folder.joinpath("viewer.js").read_text(encoding="utf-8"),
        "__DATA__": data.replace("<", "\\u003c"),
    }
    page = folder.joinpath("viewer.html").read_text(encoding="utf-8")
    for place, text in parts.items():
        page = page.replace(place, text)
    return page


def _pack(scene: Scene, min_overlap: float) -> dict[str, Any]:
    matched = match_boxes(scene, min_overlap)
    found = scene.detections
    record: dict[str, Any] = {
        "name": scene.name,
        **_pack_points(scene.points),
        "boxes": [
            {"name": str(name), "score": round(float(score), 4), "box": _rounded(box), "found": int(match) != NOTHING}
            for name, score, box, match in zip(found.names, found.scores, found.lidar_boxes, matched, strict=True)
        ],
    }
    if scene.true_boxes is not None:
        score_of = {int(match): float(score) for match, score in zip(matched, found.scores, strict=True)}
        record["objects"] = [
            {"name": str(name), "box": _rounded(box), "score": round(score_of.get(index, NOTHING), 4)}
            for index, (name, box) in enumerate(zip(scene.true_names, scene.true_boxes, strict=True))
        ]
    return record


def _rounded(box: ndarray) -> list[float]:
    return [round(float(value), 3) for value in box]


def _pack_points(points: Float[ndarray, "point 4"]) -> dict[str, Any]:
    """At most 30,000 points, evenly taken; coordinates in 16 bits of their range, intensities in 8 of theirs."""
    step = -(-len(points) // MAX_POINTS) or 1
    kept = points[::step].astype(np.float64)
    low = kept[:, :3].min(axis=0) if len(kept) else np.zeros(3)
    span = np.maximum(kept[:, :3].max(axis=0) - low, 1e-6) if len(kept) else np.ones(3)
    position = np.round((kept[:, :3] - low) / span * LARGEST).astype("<u2")
    brightest = max(float(kept[:, 3].max()), 1e-9) if len(kept) else 1.0
    intensity = np.round(np.clip(kept[:, 3] / brightest, 0, 1) * 255).astype(np.uint8)
    return {
        "low": _rounded(low),
        "span": _rounded(span),
        "count": len(kept),
        "of": len(points),
        "position": base64.b64encode(position.tobytes()).decode(),
        "intensity": base64.b64encode(intensity.tobytes()).decode(),
    }
