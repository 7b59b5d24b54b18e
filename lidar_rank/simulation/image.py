"""Daylight images of a simulated world, as KITTI's left colour camera sees it."""

from typing import Final

import numpy as np
from jaxtyping import Float32, Int, UInt8

from lidar_rank.kitti.calibration import Calibration
from lidar_rank.simulation.builder import World
from lidar_rank.simulation.camera import IMAGE_SIZE, camera_rays
from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.scanner import Hits, cast

SKY_LOW: Final = np.array([0.86, 0.90, 0.95], np.float32)
SKY_HIGH: Final = np.array([0.36, 0.55, 0.85], np.float32)
# Rows that are rendered at once. Their data stays in the processor's cache.
BAND_PX: Final = 25
HAZE_M: Final = 220.0
# Size of the patches of the texture in metres, and how much their brightness varies.
GRAIN: Final = ((0.04, 0.10), (0.35, 0.08), (2.5, 0.07))
# By material: the rows of OPTICS.
IS_ROUGH: Final = np.isin(np.arange(len(Material)), [Material.FOLIAGE, Material.GRASS, Material.BARK])
IS_SHINY: Final = np.isin(np.arange(len(Material)), [Material.PAINT, Material.GLASS])


def render(world: World, calibration: Calibration, rng: np.random.Generator) -> UInt8[np.ndarray, "375 1242 3"]:
    """Render an image with sun, shadows, sky, textures, haze and sensor noise, from one ray per pixel.

    Args:
        world: The scene.
        calibration: Calibration of the camera.
        rng: Draws the position of the sun, the clouds, the exposure and the noise.

    Returns:
        RGB image.
    """
    width, height = IMAGE_SIZE
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.1)
    flat = np.cos(elevation)
    sun = np.array([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(elevation)], np.float32)
    clouds = rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    exposure = np.float32(rng.uniform(0.75, 1.15))
    image = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND_PX):
        band = image[top : top + BAND_PX]
        u, v = np.meshgrid(np.arange(width) + 0.5, top + np.arange(len(band)) + 0.5)
        light = _light_along(world, camera_rays(calibration, np.stack([u.ravel(), v.ravel()], 1)), sun, clouds)
        exposed = np.clip(light * exposure, 0, 1) ** np.float32(1 / 1.5)
        noisy = 255 * exposed + 2 * rng.standard_normal(exposed.shape, np.float32)
        band[:] = np.clip(noisy, 0, 255).reshape(band.shape)
    return image


def _light_along(
    world: World, rays: Float32[np.ndarray, "ray 6"], sun: Float32[np.ndarray, " 3"], clouds: Float32[np.ndarray, " 4"]
) -> Float32[np.ndarray, "ray 3"]:
    """Colour seen along rays: the sky, or a surface through haze."""
    hits = cast(world.scene, rays)
    seen, missed = np.flatnonzero(hits.triangle >= 0), np.flatnonzero(hits.triangle < 0)
    colour = np.empty((len(rays), 3), np.float32)
    colour[missed] = _sky(rays[missed, 3:], clouds)
    haze = np.exp(-hits.range_m[seen, None] / HAZE_M)
    colour[seen] = haze * _surface(world, rays[seen], hits.only(seen), sun, clouds) + (1 - haze) * SKY_LOW
    return colour


def _surface(
    world: World,
    rays: Float32[np.ndarray, "ray 6"],
    hits: Hits,
    sun: Float32[np.ndarray, " 3"],
    clouds: Float32[np.ndarray, " 4"],
) -> Float32[np.ndarray, "ray 3"]:
    """Colour of the surfaces that rays hit, without haze: lit texture, and the sky mirrored in cars and windows."""
    towards = rays[:, 3:]
    points = rays[:, :3] + hits.range_m[:, None] * towards
    normal = np.where(np.einsum("rk,rk->r", hits.normal, towards)[:, None] > 0, -hits.normal, hits.normal)
    light = _brightness(world, points + np.float32(0.02) * normal, normal, sun)
    material = world.scene.mesh.material[hits.triangle]
    colour = world.colour[hits.triangle] * _texture(points, material) * light
    shiny = np.flatnonzero(IS_SHINY[material])
    facing = -np.einsum("rk,rk->r", towards[shiny], normal[shiny])[:, None]
    mirrored = towards[shiny] + 2 * facing * normal[shiny]
    strength = 0.08 + 0.5 * (1 - facing) ** 4
    colour[shiny] += strength * np.where(mirrored[:, 2:] > 0, _sky(mirrored, clouds), np.float32(0.25))
    return colour


def _sky(direction: Float32[np.ndarray, "ray 3"], clouds: Float32[np.ndarray, " 4"]) -> Float32[np.ndarray, "ray 3"]:
    """Colour of the sky: paler towards the horizon, with soft clouds."""
    up = np.clip(direction[:, 2:], 0.0, 1.0)
    colour = SKY_LOW + (SKY_HIGH - SKY_LOW) * np.sqrt(up)
    across, along = direction[:, 1:2] / (up + 0.15), direction[:, :1] / (up + 0.15)
    cover = np.sin(1.3 * across + clouds[0]) * np.sin(0.9 * along + clouds[1])
    cover += 0.5 * np.sin(3.1 * across + 1.7 * along + clouds[2]) * np.sin(2.3 * along + clouds[3])
    return colour + np.clip(cover, 0, 1) * 0.5 * (1 - colour)


def _brightness(
    world: World,
    points: Float32[np.ndarray, "point 3"],
    normal: Float32[np.ndarray, "point 3"],
    sun: Float32[np.ndarray, " 3"],
) -> Float32[np.ndarray, "point 1"]:
    """Brightness of surfaces, lit by the sky and, where nothing stands in between, by the sun."""
    facing = normal @ sun
    lit = np.flatnonzero(facing > 0)
    shadow_rays = np.concatenate([points[lit], np.broadcast_to(sun, (len(lit), 3))], 1)
    reached = lit[~world.scene.is_occluded(shadow_rays)]
    light = np.float32(0.30) + np.float32(0.15) * normal[:, 2]
    light[reached] += np.float32(0.75) * facing[reached]
    return light[:, None]


def _texture(
    points: Float32[np.ndarray, "point 3"], material: Int[np.ndarray, " point"]
) -> Float32[np.ndarray, "point 1"]:
    """Brightness factor near 1 that is fixed to the surface: patches of three sizes, with more contrast on plants."""
    factor = np.zeros(len(points), np.float32)
    for size_m, amount in GRAIN:
        cell = np.floor(points * np.float32(1 / size_m)).astype(np.int32).view(np.uint32)
        scrambled = (cell[:, 0] * np.uint32(73856093)) ^ (cell[:, 1] * np.uint32(19349663))
        scrambled ^= cell[:, 2] * np.uint32(83492791)
        value = (scrambled * np.uint32(2654435761) >> np.uint32(16)).astype(np.float32) / np.float32(65535)
        factor += np.float32(amount) * (value - np.float32(0.5))
    strength = np.where(IS_SHINY, 0, np.where(IS_ROUGH, 3, 1)).astype(np.float32)
    return 1 + (strength[material] * factor)[:, None]
