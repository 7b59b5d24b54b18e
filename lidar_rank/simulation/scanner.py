"""The scanner: first surfaces along its pulses, with noise, lost returns and intensity.

Offsets and gains are fitted to real KITTI scans by ``tools/studies/fit_simulation.py``.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Bool, Float, Float32, Int

from lidar_rank.simulation.beams import BEAM_ELEVATION_DEG, MAX_RANGE_M, firing_rays
from lidar_rank.simulation.materials import OPTICS, Material
from lidar_rank.simulation.mesh import Mesh

PULSE_NOISE_M: Final = 0.012
# Neighbouring beams differ by centimetres on the same surface, and this difference is constant over a few degrees of
# azimuth.
DRIFT_NOISE_M: Final = 0.022
# fmt: off
# Mean intensity of each beam on the road at 5 to 20 m, minus the mean over beams.
BEAM_INTENSITY_OFFSET: Final = np.array([
    -0.02, -0.04, -0.07, -0.05, -0.05, -0.02, 0.01, -0.01, 0.03, -0.03, -0.01, 0.01, 0.02, 0.01, 0.00, -0.10,
    -0.04, -0.03, -0.01, -0.02, 0.01, -0.08, -0.01, 0.02, -0.03, -0.03, -0.01, -0.01, -0.01, -0.09, -0.01, 0.00,
    -0.06, -0.07, -0.05, -0.14, -0.18, -0.05, 0.02, 0.01, -0.08, -0.03, -0.15, -0.04, -0.03, -0.04, 0.01, -0.03,
    -0.07, 0.03, 0.07, -0.22, -0.02, -0.08, -0.09, 0.00, 0.02, 0.07, -0.08, -0.09, -0.13, 0.02, 0.05, 0.04,
])
# fmt: on
# Intensity that the device reports (second row) for the intensity that it should read (first row).
INTENSITY_RESPONSE: Final = (
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 1.0],
    [0.0, 0.03, 0.05, 0.16, 0.23, 0.29, 0.33, 0.39, 0.45, 0.51, 0.57, 0.66, 0.83, 0.99],
)
# Loss of intensity (second row) with range in metres (first row).
_FALL: Final = (
    [0, 5, 9, 15, 22, 27, 35, 45, 55, 65, 80],
    [0.10, 0.04, 0.01, 0, 0.04, 0.08, 0.155, 0.24, 0.31, 0.35, 0.39],
)
# By material (the rows of OPTICS): surfaces that reflect a pulse back only at normal incidence, ...
MIRRORING: Final = np.isin(np.arange(len(Material)), [Material.PAINT, Material.GLASS])
# ... and surfaces that return little light from far away.
DARK_COATED: Final = np.isin(np.arange(len(Material)), [Material.PAINT, Material.TRIM, Material.RUBBER])


@dataclass(frozen=True, eq=False)
class Scene:
    """A world ready for ray casting.

    Attributes:
        mesh: All triangles, LiDAR frame.
        owner: Index of the labelled object to which each triangle belongs, -1 for none.
        albedo: Intensity of the surface of each triangle.
        caster: The same triangles in Embree, which casts the rays.
    """

    mesh: Mesh
    owner: Int[np.ndarray, " triangle"]
    albedo: Float32[np.ndarray, " triangle"]
    caster: EmbreeScene

    def is_occluded(self, rays: Float32[np.ndarray, "ray 6"]) -> Bool[np.ndarray, " ray"]:
        """Whether rays (origin, direction) meet anything."""
        return self.caster.run(rays[:, :3], rays[:, 3:], query="OCCLUDED") >= 0


def build_scene(mesh: Mesh, owner: Int[np.ndarray, " triangle"], albedo: Float32[np.ndarray, " triangle"]) -> Scene:
    """Give a mesh to Embree."""
    caster = EmbreeScene(robust=True)
    # The binding reads one index at a time: it does so twice as fast from tuples as from the rows of an array.
    corners = np.fromiter(zip(*mesh.triangles.T.tolist(), strict=True), object, len(mesh.triangles))
    TriangleMesh(caster, mesh.vertices, corners)
    return Scene(mesh, owner, albedo, caster)


@dataclass(frozen=True, eq=False)
class Hits:
    """First surfaces along rays.

    Attributes:
        range_m: Distance, infinite where nothing is hit.
        triangle: Index of the triangle, -1 where nothing is hit.
        cosine: Cosine between the ray and the normal of the surface, in [0, 1].
        normal: Normal of the surface, pointing to either side.
    """

    range_m: Float32[np.ndarray, " ray"]
    triangle: Int[np.ndarray, " ray"]
    cosine: Float32[np.ndarray, " ray"]
    normal: Float32[np.ndarray, "ray 3"]

    def only(self, which: Int[np.ndarray, " kept"]) -> "Hits":
        """Hits of the rays with the given indices."""
        return Hits(self.range_m[which], self.triangle[which], self.cosine[which], self.normal[which])


def cast(scene: Scene, rays: Float32[np.ndarray, "ray 6"]) -> Hits:
    """Find the first surface along each ray (origin, unit direction)."""
    found = scene.caster.run(rays[:, :3], rays[:, 3:], output=True)
    triangle = found["primID"].astype(np.int64)
    missed = triangle < 0
    range_m, normal = found["tfar"], found["Ng"]
    range_m[missed] = np.inf
    x, y, z = normal.T
    length = np.sqrt(x * x + y * y + z * z)
    length[missed] = 1
    normal *= (1 / length)[:, None]
    cosine = np.abs(np.einsum("rk,rk->r", normal, rays[:, 3:]))
    return Hits(range_m, triangle, cosine, normal)


def scan(
    scene: Scene, rng: np.random.Generator, window_deg: Float[np.ndarray, "beam 2"]
) -> tuple[Float32[np.ndarray, "point 4"], Int[np.ndarray, " point"]]:
    """Simulate one turn of the scanner at the origin of the LiDAR frame.

    Args:
        scene: The scene around the sensor.
        rng: Draws the noise and the lost returns.
        window_deg: See :func:`firing_rays`.

    Returns:
        Points in the order of KITTI's files (x, y, z in metres rounded to the millimetre, intensity in steps of 0.01),
        and the owner of the surface that each point is on, -1 for none.
    """
    rays, beam = firing_rays(rng, window_deg)
    hits = _through_porous(scene, rays, rng)
    hit = np.flatnonzero((hits.triangle >= 0) & (hits.range_m < MAX_RANGE_M))
    triangle, cosine = hits.triangle[hit], np.maximum(hits.cosine[hit], 0.02)
    material = scene.mesh.material[triangle]
    range_m = hits.range_m[hit]
    noise_m = np.hypot(PULSE_NOISE_M, OPTICS["roughness_m"][material] / cosine) * rng.standard_normal(
        len(hit), np.float32
    )
    drift_m = rng.normal(0, DRIFT_NOISE_M, (len(BEAM_ELEVATION_DEG), 180)).astype(np.float32)
    noise_m += drift_m[beam[hit], np.degrees(np.arctan2(rays[hit, 4], rays[hit, 3])).astype(int) // 2]
    depth_m = rng.standard_exponential(len(hit), np.float32) * OPTICS["depth_m"][material]
    measured_m = range_m + np.clip(noise_m, -0.5, 0.5) + depth_m
    intensity = _intensity(scene.albedo[triangle], material, cosine, range_m, beam[hit], rng)
    kept = rng.random(len(hit), np.float32) > _loss(scene.albedo[triangle], material, cosine, range_m)
    kept &= measured_m > 0.9
    ray = rays[hit[kept]]
    points = np.empty((len(ray), 4), np.float32)
    points[:, :3] = np.round(ray[:, :3] + measured_m[kept, None] * ray[:, 3:], 3)
    points[:, 3] = intensity[kept]
    return points, scene.owner[triangle[kept]]


def _through_porous(scene: Scene, rays: Float32[np.ndarray, "ray 6"], rng: np.random.Generator) -> Hits:
    """Cast rays. A ray that passes a window or foliage continues to the surface behind, at most four times."""
    hits = cast(scene, rays)
    going = np.arange(len(rays))
    for _ in range(4):
        material = scene.mesh.material[hits.triangle[going]]
        passes = (hits.triangle[going] >= 0) & (rng.random(len(going), np.float32) < OPTICS["passing"][material])
        going = going[passes]
        if not len(going):
            break
        step = hits.range_m[going] + 0.01
        onward = rays[going].copy()
        onward[:, :3] += step[:, None] * onward[:, 3:]
        further = cast(scene, onward)
        hits.range_m[going] = step + further.range_m
        hits.triangle[going], hits.cosine[going] = further.triangle, further.cosine
    return hits


def _intensity(
    albedo: Float32[np.ndarray, " hit"],
    material: Int[np.ndarray, " hit"],
    cosine: Float32[np.ndarray, " hit"],
    range_m: Float32[np.ndarray, " hit"],
    beam: Int[np.ndarray, " hit"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " hit"]:
    """Intensity as KITTI stores it, in steps of 0.01 within [0, 0.99]. It depends on range and on the beam."""
    facing = np.where(MIRRORING[material], 2.0 * cosine * cosine * cosine, 1.0 - 0.6 * np.exp(-cosine / 0.06))
    fall = np.interp(range_m, *_FALL)
    mean = albedo * facing - fall + BEAM_INTENSITY_OFFSET[beam]
    speckled = mean + rng.standard_normal(len(mean), np.float32) * OPTICS["speckle"][material]
    # Weak returns mostly read 0: beyond 10 m, real scans have hardly any intensity between 0.01 and 0.1.
    dead = np.clip((range_m - 4) / 100, 0, 0.06)
    read = rng.random(len(mean), np.float32) < (speckled - dead) / (0.02 + dead)
    return np.where(read, np.clip(np.round(np.interp(speckled, *INTENSITY_RESPONSE), 2), 0, 0.99), 0.0)


def _loss(
    albedo: Float32[np.ndarray, " hit"],
    material: Int[np.ndarray, " hit"],
    cosine: Float32[np.ndarray, " hit"],
    range_m: Float32[np.ndarray, " hit"],
) -> Float[np.ndarray, " hit"]:
    """Probability that a pulse gives no return: far, dark or grazed surfaces send back too little light."""
    coated = 0.20 * np.maximum(albedo - 0.01, 0.02) * (0.3 + cosine**2)
    returned = np.where(DARK_COATED[material], coated, (albedo + 0.03) * np.sqrt(cosine))
    light = returned / (range_m / 40.0) ** 2
    return np.maximum(OPTICS["lost"][material], 1 / (1 + light / 0.020))
