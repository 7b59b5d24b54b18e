"""Daylight pictures of a simulated world, seen by KITTI's left colour camera."""

from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from lidar_rank.datasets.calibration import Calibration
from lidar_rank.datasets.simulation.builder import World
from lidar_rank.datasets.simulation.camera import IMAGE_SIZE, camera_rays
from lidar_rank.datasets.simulation.materials import Material
from lidar_rank.datasets.simulation.scanner import cast

SKY_LOW: Final = np.array([0.86, 0.90, 0.95], np.float32)
SKY_HIGH: Final = np.array([0.36, 0.55, 0.85], np.float32)
HAZE_M: Final = 220.0
# Size of the texture's patches in metres and how much they vary in brightness.
GRAIN: Final = ((0.04, 0.10), (0.35, 0.08), (2.5, 0.07))
ROUGH_MATERIALS: Final = (Material.FOLIAGE, Material.GRASS, Material.BARK)
SHINY_MATERIALS: Final = (Material.PAINT, Material.GLASS)


def render(world: World, calibration: Calibration, rng: np.random.Generator) -> UInt8[np.ndarray, "375 1242 3"]:
    """Cast one ray through every pixel: sun, shadows, sky, textures, haze and sensor noise.

    Args:
        world: What there is to see.
        calibration: Where the camera is.
        rng: Draws the position of the sun, the clouds, the exposure and the noise.

    Returns:
        RGB image.
    """
    width, height = IMAGE_SIZE
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = camera_rays(calibration, np.stack([u.ravel(), v.ravel()], 1))
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.1)
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    clouds = rng.uniform(0, 2 * np.pi, 4)
    colour = _sky(rays[:, 3:], clouds)
    hits = cast(world.scene, rays)
    seen = np.flatnonzero(hits.triangle >= 0)
    triangle, range_m, towards = hits.triangle[seen], hits.range_m[seen, None], rays[seen, 3:]
    points = rays[seen, :3] + range_m * towards
    normal = np.where((hits.normal[seen] * towards).sum(1, keepdims=True) > 0, -hits.normal[seen], hits.normal[seen])
    light = _light(world, points + 0.02 * normal, normal, sun.astype(np.float32))
    material = world.scene.mesh.material[triangle]
    surface = world.colour[triangle] * _texture(points, material) * light
    mirrored = towards - 2 * (towards * normal).sum(1, keepdims=True) * normal
    mirror = np.where(np.isin(material, SHINY_MATERIALS), 0.08 + 0.5 * (1 - hits.cosine[seen]) ** 4, 0)[:, None]
    surface += mirror * np.where(mirrored[:, 2:] > 0, _sky(mirrored, clouds), 0.25)
    haze = np.exp(-range_m / HAZE_M)
    colour[seen] = haze * surface + (1 - haze) * SKY_LOW
    exposed = np.clip(colour * rng.uniform(0.75, 1.15), 0, 1) ** (1 / 1.5)
    noisy = 255 * exposed + rng.normal(0, 2.0, exposed.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8).reshape(height, width, 3)


def _sky(direction: Float32[np.ndarray, "ray 3"], clouds: Float[np.ndarray, " 4"]) -> Float32[np.ndarray, "ray 3"]:
    """Colour of the sky: paler towards the horizon, with soft clouds."""
    up = np.clip(direction[:, 2:], 0.0, 1.0)
    colour = SKY_LOW + (SKY_HIGH - SKY_LOW) * np.sqrt(up)
    across, along = direction[:, 1:2] / (up + 0.15), direction[:, :1] / (up + 0.15)
    cover = np.sin(1.3 * across + clouds[0]) * np.sin(0.9 * along + clouds[1])
    cover += 0.5 * np.sin(3.1 * across + 1.7 * along + clouds[2]) * np.sin(2.3 * along + clouds[3])
    return (colour + np.clip(cover, 0, 1) * 0.5 * (1 - colour)).astype(np.float32)


def _light(
    world: World,
    points: Float32[np.ndarray, "point 3"],
    normal: Float32[np.ndarray, "point 3"],
    sun: Float32[np.ndarray, " 3"],
) -> Float32[np.ndarray, "point 1"]:
    """Brightness of surfaces: from the sky, and from the sun where nothing stands in between."""
    facing = normal @ sun
    lit = np.flatnonzero(facing > 0)
    shadow_rays = np.concatenate([points[lit], np.broadcast_to(sun, (len(lit), 3))], 1).astype(np.float32)
    reached = ~world.scene.is_occluded(shadow_rays)
    light = 0.30 + 0.15 * normal[:, 2]
    light[lit[reached]] += 0.75 * facing[lit[reached]]
    return light[:, None]


def _texture(
    points: Float32[np.ndarray, "point 3"], material: Int[np.ndarray, " point"]
) -> Float32[np.ndarray, "point 1"]:
    """Brightness factor about 1 that is fixed to the surface: patches of three sizes, coarser on plants."""
    rough = np.isin(material, ROUGH_MATERIALS)
    factor = np.ones(len(points), np.float32)
    for size_m, amount in GRAIN:
        cell = np.floor(points / size_m).astype(np.int64)
        scrambled = (cell[:, 0] * 73856093) ^ (cell[:, 1] * 19349663) ^ (cell[:, 2] * 83492791)
        value = ((scrambled * 2654435761) >> 8 & 0xFFFF).astype(np.float32) / 65535 - 0.5
        factor += amount * np.where(rough, 3.0, 1.0).astype(np.float32) * value
    smooth = np.isin(material, SHINY_MATERIALS)
    factor[smooth] = 1
    return factor[:, None]
