"""What a detector found in one scan."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from lidar_rank.geometry.columns import BOX_COLUMNS
from lidar_rank.shapes import Float, Shaped


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of one scan, best first.

    Attributes:
        lidar_boxes: (x, y, z_bottom, length, width, height, yaw) in metres and radians, in the frame of the scan.
        scores: Confidence of each, 0 to 1.
        names: Class of each.
    """

    lidar_boxes: Float[ndarray, "box 7"]
    scores: Float[ndarray, " box"]
    names: Shaped[ndarray, " box"]

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.scores)

    def __getitem__(self, which: ndarray | slice) -> "Detections":
        """Select boxes by a mask, indices or a slice."""
        return Detections(self.lidar_boxes[which], self.scores[which], self.names[which])

    def to_json(self) -> list[dict[str, object]]:
        """Return one dictionary of plain values for each box."""
        return [
            {
                "name": str(name),
                "score": round(float(score), 4),
                **dict(zip(BOX_COLUMNS, np.round(box, 4).tolist(), strict=True)),
            }
            for name, score, box in zip(self.names, self.scores, self.lidar_boxes, strict=True)
        ]

    def format_table(self) -> str:
        """Return a table for people: class, score, position, size and yaw of each box."""
        rows = ["class       score   x (m)   y (m)   z (m)  length  width  height  yaw (deg)"]
        for name, score, (x, y, z, length, width, height, yaw) in zip(
            self.names, self.scores, self.lidar_boxes, strict=True
        ):
            rows.append(
                f"{name:<11} {score:5.2f} {x:7.2f} {y:7.2f} {z:7.2f} {length:7.2f} {width:6.2f} {height:7.2f}"
                f" {np.degrees(yaw):10.0f}"
            )
        return "\n".join(rows)
