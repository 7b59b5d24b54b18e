"""Shapes beside the road that get no label: trees, hedges, walls, houses, poles, signs, fences and guard rails."""

from functools import lru_cache

import numpy as np

from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import Mesh, box, ellipsoid, grid, join, tube


def _rough(mesh: Mesh, amount: float, rng: np.random.Generator) -> Mesh:
    """Move every vertex at random. Vertices that coincide move apart, which opens gaps for pulses."""
    noise = rng.normal(0, amount, mesh.vertices.shape).astype(np.float32)
    return Mesh(mesh.vertices + noise, mesh.triangles, mesh.material)


@lru_cache(maxsize=64)
def bush(variant: int) -> Mesh:
    """A heap of leaves in the unit box, z from 0 to 1."""
    rng = np.random.default_rng([variant, 3])
    parts = []
    for _ in range(3):
        centre = rng.uniform([-0.2, -0.2, 0.3], [0.2, 0.2, 0.55])
        parts.append(ellipsoid(centre, rng.uniform(0.25, 0.42, 3), Material.FOLIAGE, rows=4, columns=7))
    return _rough(join(parts), 0.035, rng)


@lru_cache(maxsize=64)
def tree(variant: int) -> Mesh:
    """A trunk and a crown, in metres: about 8 m high, with a crown from 2 m upwards."""
    rng = np.random.default_rng([variant, 4])
    low = rng.uniform(1.8, 3.2)
    lean = rng.uniform(-0.25, 0.25, 2)
    path = np.array([[0, 0, -0.3], [0.3 * lean[0], 0.3 * lean[1], 1.5], [lean[0], lean[1], low + 1.5]])
    parts = [tube(path, rng.uniform(0.10, 0.26) * np.array([1.2, 1.0, 0.7]), Material.BARK, sides=7)]
    for _ in range(6):
        centre = rng.uniform([-1.6, -1.6, low + 0.9], [1.6, 1.6, low + 4.0])
        radii = rng.uniform([0.9, 0.9, 0.7], [1.9, 1.9, 1.4])
        parts.append(_rough(ellipsoid(centre, radii, Material.FOLIAGE, rows=4, columns=6), 0.14, rng))
    return join(parts)


@lru_cache(maxsize=32)
def hedge(variant: int) -> Mesh:
    """A clipped hedge: length 1 along x, width 1, height 1, rough on all sides."""
    rng = np.random.default_rng([variant, 5])
    x = np.linspace(-0.5, 0.5, 15)
    loop = np.array([[-0.5, 0], [-0.48, 0.5], [-0.44, 0.93], [0, 1.0], [0.44, 0.93], [0.48, 0.5], [0.5, 0]])
    points = np.stack(np.broadcast_arrays(x[:, None], loop[None, :, 0], loop[None, :, 1]), -1)
    points = points + rng.normal(0, [0.01, 0.08, 0.03], points.shape)
    return grid(points, Material.FOLIAGE)


@lru_cache(maxsize=32)
def house(variant: int) -> Mesh:
    """A house in the unit square, z in metres, with windows, doors and a pitched roof. Its front is y = -0.5."""
    rng = np.random.default_rng([variant, 6])
    material = Material.PLASTER if rng.random() < 0.7 else Material.STONE
    top = rng.uniform(5.0, 10.0)
    parts = [box((-0.5, -0.5, -1.0), (0.5, 0.5, top), material)]
    for x in np.linspace(-0.4, 0.4, rng.integers(3, 6)):
        for level in np.arange(1.0, top - 1.5, 2.8):
            door = level == 1.0 and rng.random() < 0.15
            low = 0.0 if door else level
            opening = Material.WOOD if door else Material.GLASS
            pane = np.array([[[px, -0.503, z] for px in (x - 0.04, x + 0.04)] for z in (low, level + 1.3)])
            parts.append(grid(pane, opening))
    ridge = np.array([[[x, -0.52, top - 0.2], [x, 0.0, top + 3.0], [x, 0.52, top - 0.2]] for x in (-0.52, 0.52)])
    return join([*parts, grid(ridge, Material.ROOF)])


def wall(material: Material) -> Mesh:
    """A wall of length 1 along x, width 1 and height 1, with a footing below the ground."""
    return box((-0.5, -0.5, -0.4), (0.5, 0.5, 1.0), material)


@lru_cache(maxsize=4)
def picket_fence(pickets: int) -> Mesh:
    """Upright bars and two rails: length 1 along x, height 1."""
    parts = [box((-0.5, -0.02, z - 0.03), (0.5, 0.02, z + 0.03), Material.METAL) for z in (0.2, 0.9)]
    for x in np.linspace(-0.5, 0.5, pickets):
        half = 0.12 / pickets
        parts.append(box((x - half, -0.015, -0.1), (x + half, 0.015, 1.0), Material.METAL))
    return join(parts)


@lru_cache(maxsize=1)
def guard_rail() -> Mesh:
    """A steel rail on posts: length 1 along x (scale it to about 4 m), height in metres."""
    profile = np.array([[0.0, 0.45], [-0.04, 0.52], [0.0, 0.60], [-0.04, 0.68], [0.0, 0.75]])
    x = np.array([-0.5, 0.5])
    points = np.stack(np.broadcast_arrays(x[:, None], profile[None, :, 0], profile[None, :, 1]), -1)
    return join([grid(points, Material.METAL), box((-0.02, 0.02, -0.3), (0.02, 0.12, 0.7), Material.METAL)])


@lru_cache(maxsize=1)
def pole() -> Mesh:
    """A round pole, 1 m in diameter and 1 m high before scaling."""
    return tube(np.array([[0, 0, -0.1], [0, 0, 1.0]]), np.array(0.5), Material.METAL, sides=7)


@lru_cache(maxsize=16)
def sign(variant: int) -> Mesh:
    """A traffic sign on its pole, in metres, facing -x."""
    rng = np.random.default_rng([variant, 8])
    height, half = rng.uniform(2.0, 2.6), rng.uniform(0.25, 0.4)
    post = tube(np.array([[0, 0, -0.2], [0, 0, height + half]]), np.array(0.035), Material.METAL, sides=6)
    return join([post, box((-0.06, -half, height - half), (-0.04, half, height + half), Material.REFLECTOR)])


@lru_cache(maxsize=16)
def street_box(variant: int) -> Mesh:
    """A bin, a switch box or a container in the unit box."""
    material = (Material.METAL, Material.TRIM, Material.STONE)[variant % 3]
    return box((-0.5, -0.5, -0.1), (0.5, 0.5, 1.0), material)
