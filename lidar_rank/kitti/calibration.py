"""KITTI calibration: the coordinate frames of a scan and the transforms between them.

Frames, right-handed, in metres:

* **lidar**: x forward, y left, z up; boxes are ``(x, y, z_bottom, length, width, height, yaw)``, yaw from x to y.
* **camera**: camera 0 after rectification, x right, y down, z forward; the frame of the label files, yaw about y.
* **image**: pixels of the left colour camera (camera 2), u right, v down, from the outer corner of the first pixel.

A calibration without ``P0`` to ``P3`` is that of a scan without a camera; its camera frame serves for labels alone.

The file format and the chain ``P2 @ R0_rect @ Tr_velo_to_cam`` follow Geiger et al., "Are we ready for autonomous
driving? The KITTI vision benchmark suite", CVPR 2012, and the development kit of its object benchmark.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.geometry.boxes import wrap_angle
from lidar_rank.kernels.frustum import points_in_frustum
from lidar_rank.kitti.files import parse_number, read_lines
from lidar_rank.shapes import Bool, Float

MATRIX_SHAPES: Final = {
    "P0": (3, 4),
    "P1": (3, 4),
    "P2": (3, 4),
    "P3": (3, 4),
    "R0_rect": (3, 3),
    "Tr_velo_to_cam": (3, 4),
    "Tr_imu_to_velo": (3, 4),
}
OPTIONAL_MATRICES: Final = {"Tr_imu_to_velo"}
PROJECTIONS: Final = {"P0", "P1", "P2", "P3"}

# The reduced clouds that published results were made with keep these distances from the image plane.
MIN_DEPTH_M: Final = 0.001
MAX_DEPTH_M: Final = 100.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where the LiDAR and the cameras of one frame are.

    Attributes:
        projections: ``P0`` to ``P3``: camera frame to the pixels of each of the four cameras; None without cameras.
        rectification: ``R0_rect``: rotation from the unrectified to the rectified camera 0.
        lidar_to_reference: ``Tr_velo_to_cam``: LiDAR frame to the unrectified camera 0.
        imu_to_lidar: ``Tr_imu_to_velo``, or None where the file has none.
    """

    projections: Float[ndarray, "4 3 4"] | None
    rectification: Float[ndarray, "3 3"]
    lidar_to_reference: Float[ndarray, "3 4"]
    imu_to_lidar: Float[ndarray, "3 4"] | None = None

    @property
    def has_camera(self) -> bool:
        """Whether there are cameras."""
        return self.projections is not None

    @cached_property
    def lidar_to_camera_matrix(self) -> Float[ndarray, "4 4"]:
        """Rigid transform of homogeneous LiDAR points to the camera frame."""
        return homogeneous(self.rectification) @ homogeneous(self.lidar_to_reference)

    @cached_property
    def camera_to_lidar_matrix(self) -> Float[ndarray, "4 4"]:
        """Inverse of :attr:`lidar_to_camera_matrix`."""
        return np.linalg.inv(self.lidar_to_camera_matrix)

    def lidar_to_camera(self, points_m: Float[ndarray, "point 3"]) -> Float[ndarray, "point 3"]:
        """Move points from the LiDAR to the camera frame."""
        return _transform(self.lidar_to_camera_matrix, points_m)

    def camera_to_lidar(self, points_m: Float[ndarray, "point 3"]) -> Float[ndarray, "point 3"]:
        """Move points from the camera to the LiDAR frame."""
        return _transform(self.camera_to_lidar_matrix, points_m)

    def camera_to_image(
        self, points_m: Float[ndarray, "point 3"]
    ) -> tuple[Float[ndarray, "point 2"], Float[ndarray, " point"]]:
        """Project points of the camera frame.

        Args:
            points_m: Points in the camera frame.

        Returns:
            Pixels ``(u, v)``, without meaning where the depth is not positive, and the depth from camera 2 in metres.

        Raises:
            ValueError: there is no camera.
        """
        scaled = _transform(self.projection, points_m)
        with np.errstate(divide="ignore", invalid="ignore"):
            return scaled[:, :2] / scaled[:, 2:], scaled[:, 2]

    def lidar_to_image(
        self, points_m: Float[ndarray, "point 3"]
    ) -> tuple[Float[ndarray, "point 2"], Float[ndarray, " point"]]:
        """Project points of the LiDAR frame; see :meth:`camera_to_image`."""
        return self.camera_to_image(self.lidar_to_camera(points_m))

    def in_image(self, points_m: Float[ndarray, "point 3"], image_size: tuple[int, int]) -> Bool[ndarray, " point"]:
        """Whether points of the LiDAR frame fall inside the image, between 1 mm and 100 m from the camera.

        Args:
            points_m: Points in the LiDAR frame.
            image_size: Width and height in pixels.

        Returns:
            True strictly inside the viewing frustum, which is how the official reduced clouds are cut.

        Raises:
            ValueError: there is no camera.
        """
        projection = self.projection @ self.lidar_to_camera_matrix
        return points_in_frustum(points_m, projection, *image_size, MIN_DEPTH_M, MAX_DEPTH_M)

    @property
    def projection(self) -> Float[ndarray, "3 4"]:
        """``P2``: camera frame to the pixels of the left colour camera.

        Raises:
            ValueError: there is no camera.
        """
        if self.projections is None:
            raise ValueError("the calibration has no camera (P0 to P3), so that nothing can be projected into an image")
        return self.projections[2]

    def camera_boxes_to_lidar(
        self,
        location_m: Float[ndarray, "box 3"],
        size_m: Float[ndarray, "box 3"],
        yaw_rad: Float[ndarray, " box"],
    ) -> Float[ndarray, "box 7"]:
        """Turn boxes of a label or result file into LiDAR boxes.

        Both frames put the origin of a box at the centre of its bottom face. The camera's tilt against the LiDAR
        (about a degree) is left out of the yaw, as everywhere in the field.

        Args:
            location_m: Centre of the bottom face in the camera frame.
            size_m: Height, width and length, in the file's order.
            yaw_rad: ``rotation_y``.

        Returns:
            ``(x, y, z_bottom, length, width, height, yaw)`` with yaw in [-pi, pi).
        """
        yaw_lidar_rad = wrap_angle(-yaw_rad - np.pi / 2)
        return np.column_stack([self.camera_to_lidar(location_m), size_m[:, ::-1], yaw_lidar_rad])

    def lidar_boxes_to_camera(
        self, boxes: Float[ndarray, "box 7"]
    ) -> tuple[Float[ndarray, "box 3"], Float[ndarray, "box 3"], Float[ndarray, " box"]]:
        """Inverse of :meth:`camera_boxes_to_lidar`: ``location_m``, ``size_m`` and ``yaw_rad`` in [-pi, pi)."""
        return self.lidar_to_camera(boxes[:, :3]), boxes[:, 5:2:-1], wrap_angle(-boxes[:, 6] - np.pi / 2)


# Of scans without a camera: the place of the LiDAR with a camera's axes, so that the frames differ by the order and the
# signs of the axes alone, and boxes go from one to the other without rounding of positions and sizes.
WITHOUT_CAMERA: Final = Calibration(
    projections=None,
    rectification=np.eye(3),
    lidar_to_reference=np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]),
)


def homogeneous(matrix: Float[ndarray, "3 columns"]) -> Float[ndarray, "4 4"]:
    """Extend a 3x3 or 3x4 matrix to 4x4 with the rows and columns of the identity."""
    extended = np.eye(4)
    extended[:3, : matrix.shape[1]] = matrix
    return extended


def read_calibration(path: Path) -> Calibration:
    """Read one file of a KITTI ``calib`` folder.

    Args:
        path: Text file with lines ``NAME: values``. Without any of ``P0`` to ``P3``, the scan has no camera.

    Returns:
        The calibration.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is malformed, a matrix is missing, or what should be a rotation matrix is not one; the
            message names file and line.
    """
    matrices: dict[str, ndarray] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            name, separator, values = line.partition(":")
            if not separator:
                raise ValueError(f"{path}:{number}: expected 'NAME: values', got {line[:60]!r}")
            if name in MATRIX_SHAPES:
                matrices[name] = _parse_matrix(name, values, where=f"{path}:{number}")
    missing = MATRIX_SHAPES.keys() - OPTIONAL_MATRICES - matrices.keys()
    if missing and missing != PROJECTIONS:
        raise ValueError(f"{path}: no {', '.join(sorted(missing))}; found {', '.join(matrices) or 'nothing'}")
    for name in ("R0_rect", "Tr_velo_to_cam"):
        if not _is_rotation(matrices[name][:, :3]):
            values = matrices[name].tolist()
            raise ValueError(f"{path}: the first three columns of {name} are not a rotation matrix: {values}")
    return Calibration(
        projections=None if missing else np.stack([matrices[f"P{camera}"] for camera in range(4)]),
        rectification=matrices["R0_rect"],
        lidar_to_reference=matrices["Tr_velo_to_cam"],
        imu_to_lidar=matrices.get("Tr_imu_to_velo"),
    )


def format_calibration(calibration: Calibration) -> str:
    """Text of a calibration file, in the official files' order and precision (13 digits)."""
    matrices = [
        *([None] * len(PROJECTIONS) if calibration.projections is None else calibration.projections),
        calibration.rectification,
        calibration.lidar_to_reference,
        calibration.imu_to_lidar,
    ]
    lines = (
        f"{name}: {' '.join(f'{value:.12e}' for value in matrix.flat)}\n"
        for name, matrix in zip(MATRIX_SHAPES, matrices, strict=True)
        if matrix is not None
    )
    return "".join(lines)


def _parse_matrix(name: str, values: str, where: str) -> Float[ndarray, "3 columns"]:
    rows, columns = MATRIX_SHAPES[name]
    try:
        flat = np.array([parse_number(word) for word in values.split()])
    except ValueError as error:
        raise ValueError(f"{where}: a value of {name} {error}") from None
    if len(flat) != rows * columns:
        raise ValueError(f"{where}: {name} has {len(flat)} values, expected {rows * columns}")
    return flat.reshape(rows, columns)


def _is_rotation(matrix: Float[ndarray, "3 3"]) -> bool:
    """Whether the rows are orthonormal and right-handed, within the precision of the official files."""
    if np.abs(matrix).max() > 1.01:
        return False
    return bool(np.allclose(matrix @ matrix.T, np.eye(3), atol=0.01) and np.linalg.det(matrix) > 0)


def _transform(matrix: Float[ndarray, "rows 4"], points_m: Float[ndarray, "point 3"]) -> Float[ndarray, "point 3"]:
    return points_m @ matrix[:3, :3].T + matrix[:3, 3]
