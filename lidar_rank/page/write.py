"""Writing the page: data packed into one HTML file beside the viewer."""

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy import ndarray

from lidar_rank.page.charts import colour_of
from lidar_rank.page.scene import COLOURS, Objects, Predictions, Scene
from lidar_rank.shapes import Float

MAX_POINTS: Final = 24_000  # of a scan: 7 bytes each, so that 200 scans with images stay below MAX_BYTES
MAX_BYTES: Final = 60_000_000
LARGEST: Final = 65535


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        text: Of the HTML file.
        num_scenes: Scenes on it; fewer than were given where they would have exceeded its size.
        notes: What is missing on it, as it says itself.
    """

    text: str
    num_scenes: int
    notes: tuple[str, ...] = ()


def render_page(
    scenes: Iterable[Scene],
    title: str,
    runs: Sequence[str],
    *,
    min_overlap: Mapping[str, float] | None = None,
    results: str = "",
    max_bytes: int = MAX_BYTES,
) -> Page:
    """Return a page that shows scans or images with boxes, and the results of detectors.

    The page asks for nothing from anywhere. It has a slider for the score, a table of boxes that selects them, and keys
    that the page lists.

    Args:
        scenes: Read one after the other, until the page has its size.
        title: Of the page.
        runs: Name of each detector, in the order of each scene's predictions.
        min_overlap: IoU that a found box exceeds, by class, where there are labels.
        results: HTML of what is beside the scenes.
        max_bytes: Scenes beyond this size are left out, and the page says so.

    Raises:
        ValueError: there is neither a scene nor a result to show.
    """
    folder = files(__package__)
    parts = {name: folder.joinpath(f"viewer.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    records: list[dict[str, Any]] = []
    blocks: list[str] = []
    size = sum(map(len, parts.values())) + len(results)
    left_out = 0
    for scene in scenes:
        record, own_blocks = _pack(scene, len(records))
        own_size = len(json.dumps(record)) + sum(map(len, own_blocks))
        if left_out or size + own_size > max_bytes:
            left_out += 1
            continue
        size += own_size
        records.append(record)
        blocks += own_blocks
    if not records and not left_out and not results:
        raise ValueError("a page needs at least one scan")
    note = f"{left_out} more scans would make the page larger than {max_bytes / 1e6:.0f} MB" if left_out else ""
    data = {
        "note": note,
        "colours": COLOURS,
        "min_overlap": dict(min_overlap or {}),
        "runs": [{"name": name, "colour": colour_of(run)} for run, name in enumerate(runs)],
        "scenes": records,
    }
    places = {
        "__TITLE__": html.escape(title),
        "__STYLE__": parts["css"],
        "__SCRIPT__": parts["js"],
        "__DATA__": json.dumps(data).replace("<", "\\u003c"),
        "__BLOCKS__": "\n".join(blocks),
        "__RESULTS__": results,
    }
    # In one pass: what is put in may contain the name of a place.
    text = re.sub("|".join(places), lambda place: places[place[0]], parts["html"])
    return Page(text, len(records), (note,) if note else ())


def _pack(scene: Scene, index: int) -> tuple[dict[str, Any], list[str]]:
    """What the page says of a scene, and its points and picture, which are decoded when the scene is first shown."""
    record: dict[str, Any] = {"name": scene.name, "note": scene.note}
    blocks = []
    if scene.points is not None:
        record["points"], content = _pack_points(scene.points)
        blocks.append(_block(f"points-{index}", content))
    if scene.picture is not None:
        record["picture"] = scene.picture.size
        blocks.append(_block(f"picture-{index}", scene.picture.jpeg))
    if scene.projection is not None:
        record["projection"] = [float(f"{value:.7g}") for value in scene.projection.ravel()]
    if scene.objects is not None:
        record["objects"] = _pack_objects(scene.objects)
    record["runs"] = [None if found is None else _pack_predictions(found) for found in scene.predictions]
    return record, blocks


def _block(name: str, content: bytes) -> str:
    # An attribute, because browsers read it twice as fast as the text of an element.
    return f'<i hidden id="{name}" data-base64="{base64.b64encode(content).decode()}"></i>'


def _pack_objects(objects: Objects) -> list[dict[str, Any]]:
    rows = zip(objects.names, objects.boxes, objects.is_counted.T.tolist(), strict=True)
    return [{"name": str(name), "box": _rounded(box), "counted": by_run} for name, box, by_run in rows]


def _pack_predictions(found: Predictions) -> list[dict[str, Any]]:
    boxes: list[dict[str, Any]] = [
        {"name": str(name), "score": round(float(score), 4), "box": _rounded(box)}
        for name, score, box in zip(found.names, found.scores, found.boxes, strict=True)
    ]
    if found.verdicts is not None and found.overlaps is not None and found.object_of is not None:
        columns = zip(found.verdicts.tolist(), found.overlaps.tolist(), found.object_of.tolist(), strict=True)
        for box, (verdict, overlap, object_of) in zip(boxes, columns, strict=True):
            box.update(verdict=verdict, overlap=round(overlap, 4), object=object_of)
    return boxes


def _rounded(box: ndarray) -> list[float]:
    return [round(float(value), 3) for value in box]


def _pack_points(points: Float[ndarray, "point 4"]) -> tuple[dict[str, Any], bytes]:
    """At most MAX_POINTS points, evenly taken; coordinates in 16 bits of their range, intensities in 8 of theirs."""
    step = -(-len(points) // MAX_POINTS) or 1
    kept = points[::step].astype(np.float64)
    low = kept[:, :3].min(axis=0) if len(kept) else np.zeros(3)
    span = np.maximum(kept[:, :3].max(axis=0) - low, 1e-6) if len(kept) else np.ones(3)
    position = np.round((kept[:, :3] - low) / span * LARGEST).astype("<u2")
    brightest = max(float(kept[:, 3].max()), 1e-9) if len(kept) else 1.0
    intensity = np.round(np.clip(kept[:, 3] / brightest, 0, 1) * 255).astype(np.uint8)
    record = {"low": low.tolist(), "span": span.tolist(), "count": len(kept), "of": len(points)}
    return record, position.tobytes() + intensity.tobytes()
