"""Materials of surfaces, and how the scanner and the camera see them."""

from enum import IntEnum, auto
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Material(IntEnum):
    """Kinds of surface; the value is the row of :data:`OPTICS`."""

    ASPHALT = 0
    PAVING = auto()
    GRASS = auto()
    PLASTER = auto()
    STONE = auto()
    WOOD = auto()
    FOLIAGE = auto()
    BARK = auto()
    METAL = auto()
    REFLECTOR = auto()
    PAINT = auto()
    GLASS = auto()
    RUBBER = auto()
    TRIM = auto()
    CABIN = auto()
    CLOTH = auto()
    SKIN = auto()
    EGO = auto()
    MARKING = auto()
    LAMP = auto()
    ROOF = auto()


class Optics(NamedTuple):
    """How a material reflects a laser pulse, and its colour in daylight.

    Attributes:
        albedo: Intensity of a return near the sensor at normal incidence, in KITTI's 0 to 1.
        spread: Standard deviation of the albedo between objects, in the same unit.
        speckle: Standard deviation between the returns of one object, in the same unit.
        passing: Share of pulses that pass through to the surface behind.
        lost: Share of pulses that give no return at normal incidence.
        roughness_m: Standard deviation of the surface along its normal.
        depth_m: Mean depth to which a pulse enters the material before it returns.
        colour: Red, green and blue in 0 to 1.
    """

    albedo: float
    spread: float
    speckle: float
    passing: float
    lost: float
    roughness_m: float
    depth_m: float
    colour: tuple[float, float, float]


_TABLE = {
    Material.ASPHALT: Optics(0.275, 0.045, 0.055, 0.0, 0.002, 0.004, 0.0, (0.42, 0.42, 0.43)),
    Material.PAVING: Optics(0.33, 0.03, 0.06, 0.0, 0.002, 0.006, 0.0, (0.58, 0.55, 0.52)),
    Material.GRASS: Optics(0.34, 0.04, 0.07, 0.0, 0.01, 0.03, 0.05, (0.36, 0.47, 0.22)),
    Material.PLASTER: Optics(0.35, 0.07, 0.05, 0.0, 0.005, 0.004, 0.0, (0.82, 0.76, 0.66)),
    Material.STONE: Optics(0.32, 0.06, 0.07, 0.0, 0.005, 0.015, 0.0, (0.55, 0.47, 0.42)),
    Material.WOOD: Optics(0.32, 0.06, 0.07, 0.0, 0.005, 0.005, 0.0, (0.45, 0.33, 0.22)),
    Material.FOLIAGE: Optics(0.34, 0.05, 0.10, 0.30, 0.06, 0.04, 0.22, (0.20, 0.33, 0.12)),
    Material.BARK: Optics(0.30, 0.05, 0.08, 0.0, 0.01, 0.01, 0.0, (0.33, 0.27, 0.21)),
    Material.METAL: Optics(0.25, 0.08, 0.10, 0.0, 0.04, 0.002, 0.0, (0.55, 0.57, 0.58)),
    Material.REFLECTOR: Optics(0.95, 0.05, 0.12, 0.0, 0.01, 0.002, 0.0, (0.90, 0.90, 0.92)),
    Material.PAINT: Optics(0.10, 0.00, 0.15, 0.0, 0.12, 0.004, 0.0, (0.50, 0.50, 0.50)),
    Material.GLASS: Optics(0.03, 0.00, 0.10, 0.72, 0.60, 0.003, 0.0, (0.13, 0.16, 0.18)),
    Material.RUBBER: Optics(0.10, 0.03, 0.10, 0.0, 0.06, 0.006, 0.0, (0.09, 0.09, 0.09)),
    Material.TRIM: Optics(0.12, 0.03, 0.12, 0.0, 0.15, 0.006, 0.0, (0.12, 0.12, 0.13)),
    Material.CABIN: Optics(0.12, 0.05, 0.12, 0.0, 0.50, 0.02, 0.0, (0.14, 0.13, 0.12)),
    Material.CLOTH: Optics(0.28, 0.12, 0.12, 0.0, 0.02, 0.012, 0.0, (0.35, 0.33, 0.40)),
    Material.SKIN: Optics(0.35, 0.05, 0.08, 0.0, 0.02, 0.006, 0.0, (0.80, 0.62, 0.52)),
    Material.EGO: Optics(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, (0.10, 0.10, 0.10)),
    Material.MARKING: Optics(0.50, 0.06, 0.09, 0.0, 0.002, 0.004, 0.0, (0.90, 0.90, 0.88)),
    Material.LAMP: Optics(0.80, 0.10, 0.15, 0.0, 0.02, 0.002, 0.0, (0.62, 0.05, 0.05)),
    Material.ROOF: Optics(0.30, 0.05, 0.07, 0.0, 0.005, 0.015, 0.0, (0.52, 0.26, 0.20)),
}

OPTICS: dict[str, Float[np.ndarray, "material ..."]] = {
    field: np.array([getattr(_TABLE[m], field) for m in Material], np.float32) for field in Optics._fields
}
"""Columns of the table of optics, with one row per material."""
