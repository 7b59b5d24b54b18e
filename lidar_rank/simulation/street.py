"""The ground: a street with kerbs, pavements, verges and crossings, as a function and as a mesh.

Street frame: ``s`` is the distance along the centre line from the sensor, ``d`` the distance to the left of the centre
line, both in metres.
"""

import cmath
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from lidar_rank.simulation.beams import HEIGHT_M
from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import Mesh, grid


@dataclass(frozen=True)
class Side:
    """Cross-section of one side of a street, from the lanes outwards, with widths in metres.

    Attributes:
        road: Width from the centre line to the outer edge of the lanes.
        parking: Width of the strip for parked vehicles at road level, 0 for none.
        pavement: Width of the raised pavement, 0 for none.
        verge: Width of the grass between pavement and boundary.
        kerb: Height of the kerb.
        bank: Slope of the land beyond the boundary.
    """

    road: float
    parking: float
    pavement: float
    verge: float
    kerb: float
    bank: float

    @property
    def kerb_at(self) -> float:
        """Distance of the kerb from the centre line."""
        return self.road + self.parking

    @property
    def boundary_at(self) -> float:
        """Distance of hedges, fences and houses from the centre line."""
        return self.kerb_at + self.pavement + self.verge


@dataclass(frozen=True, eq=False)
class Street:
    """The course and the cross-section of a street, and the pose of the sensor on it.

    Attributes:
        left: The side with d > 0.
        right: The side with d < 0.
        curvature_per_m: Curvature of the centre line, positive to the left.
        ego_d: Position of the sensor across the street.
        ego_yaw_rad: Heading of the sensor relative to the centre line.
        pitch: Slope of the ground along the sensor's x, m/m.
        roll: Slope of the ground along the sensor's y, m/m.
        bend: Change of slope along s, 1/m.
        crossings: (start, end) in s of each crossing street.
        waves: Amplitude, wave numbers in s and d, and phase of each undulation of the ground.
    """

    left: Side
    right: Side
    curvature_per_m: float
    ego_d: float
    ego_yaw_rad: float
    pitch: float
    roll: float
    bend: float
    crossings: tuple[tuple[float, float], ...]
    waves: Float[np.ndarray, "wave 4"]

    def in_crossing(self, s: ArrayLike, margin: float = 0.0) -> Float[np.ndarray, "..."]:
        """1 inside a crossing and 0 outside, with a ramp of 2 m between."""
        s = np.asarray(s)
        inside = np.zeros(s.shape)
        for start, end in self.crossings:
            inside = np.maximum(inside, np.clip(np.minimum(s - start + margin, end + margin - s) / 2 + 0.5, 0, 1))
        return inside

    def height(self, s: ArrayLike, d: ArrayLike) -> Float[np.ndarray, "..."]:
        """Height of the ground above an ideal plane, metres."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        height = 0.5 * self.bend * np.maximum(s, 0) ** 2
        for side, across in ((self.left, d), (self.right, -d)):
            beyond = np.clip(across - side.boundary_at, 0, 12)
            step = side.kerb * np.clip((across - side.kerb_at) / 0.06, 0, 1) * (1 - self.in_crossing(s))
            height = height + np.where(across > 0, step + side.bank * beyond, 0.0)
        height = height - 0.008 * np.minimum(np.abs(d), 8)
        for amplitude, along, across, phase in self.waves:
            height = height + amplitude * np.sin(along * s + across * d + phase)
        return height

    @cached_property
    def _ego_height(self) -> float:
        return float(self.height(0.0, self.ego_d))

    def plan(
        self, s: float | Float[np.ndarray, "..."], d: float | Float[np.ndarray, "..."]
    ) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Coordinates x and y of points of the street in the LiDAR frame."""
        curvature = self.curvature_per_m or 1e-9
        turn = curvature * s
        # The chord of an arc has half the turn of the arc. Points are complex numbers x + iy.
        half = np.exp(0.5j * turn)
        at = (2 / curvature * np.sin(turn / 2) + 1j * d * half) * half - 1j * self.ego_d
        at *= cmath.exp(-1j * self.ego_yaw_rad)
        return at.real, at.imag

    def to_lidar(self, s: ArrayLike, d: ArrayLike) -> Float[np.ndarray, "... 3"]:
        """Points on the ground in the LiDAR frame."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        x, y = self.plan(s, d)
        z = self.height(s, d) - self._ego_height - HEIGHT_M + self.pitch * x + self.roll * y
        return np.stack([x, y, z], -1)

    def yaw(self, s: float) -> float:
        """Heading of the street in the LiDAR frame."""
        return self.curvature_per_m * s - self.ego_yaw_rad

    def ground(self, s_low: float, s_high: float) -> Mesh:
        """Mesh of the ground between two stations, up to 50 m to either side."""
        s = np.unique(
            np.concatenate([np.arange(max(s_low, -30.0), 42.0, 2.0), np.arange(42.0, s_high, 5.0), [s_low, s_high]])
        )
        s = s[(s >= s_low) & (s <= s_high)]
        left, left_material = _columns(self.left)
        right, right_material = _columns(self.right)
        d = np.concatenate([-right[::-1], left[1:]])
        material = np.tile(np.concatenate([right_material[::-1], left_material]), (len(s) - 1, 1))
        middle = 0.5 * (s[1:] + s[:-1])
        crossing = self.in_crossing(middle) > 0.5
        material[crossing] = Material.ASPHALT
        dashes = (np.arange(len(middle)) % 3 != 0)[:, None] & (material == Material.MARKING) & (np.abs(d[1:]) < 1)
        material[dashes] = Material.ASPHALT
        return grid(self.to_lidar(s[:, None], d[None]), material)


def _columns(side: Side) -> tuple[Float[np.ndarray, " edge"], Float[np.ndarray, " cell"]]:
    """Edges of the cross-section of one side, from the centre outwards, and the material between them."""
    kerb, boundary = side.kerb_at, side.boundary_at
    cells = [(0.07, Material.MARKING), (side.road - 0.15, Material.ASPHALT), (side.road, Material.MARKING)]
    if side.parking:
        cells.append((kerb, Material.ASPHALT))
    cells.append((kerb + 0.06, Material.PAVING))
    if side.pavement:
        cells.append((kerb + side.pavement, Material.PAVING))
    cells += [(boundary + 0.1, Material.GRASS), *((boundary + extra, Material.GRASS) for extra in (4, 12, 25, 50))]
    edges, materials = zip(*cells, strict=True)
    return np.array([0.0, *edges]), np.array(materials)
