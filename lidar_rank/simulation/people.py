"""People on foot and on bicycles in the unit box: x and y in [-0.5, 0.5], z in [0, 1]; x points forward."""

from functools import lru_cache

import numpy as np

from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import Mesh, ellipsoid, join, tube


def _limb(points: list[tuple[float, float, float]], radii: list[float], material: Material) -> Mesh:
    return tube(np.array(points), np.array(radii), material, sides=5)


def _to_unit_box(mesh: Mesh) -> Mesh:
    """Scale the mesh so that its extent is the unit box."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    vertices = (mesh.vertices - low) / (high - low) - np.array([0.5, 0.5, 0.0], np.float32)
    return Mesh(vertices.astype(np.float32), mesh.triangles, mesh.material)


@lru_cache(maxsize=64)
def pedestrian(variant: int) -> Mesh:
    """A person in one phase of a walk, arms swinging against the legs."""
    rng = np.random.default_rng([variant, 1])
    stride, swing = rng.uniform(0.0, 0.33), rng.uniform(0.05, 0.25)
    parts = [
        ellipsoid((0.02, 0, 1.63), (0.095, 0.08, 0.12), Material.SKIN, rows=5, columns=6),
        tube(
            np.array([[0, 0, 0.82], [0, 0, 0.95], [0.01, 0, 1.2], [0.01, 0, 1.42], [0.0, 0, 1.54]]),
            np.array([0.13, 0.155, 0.165, 0.18, 0.06]),
            Material.CLOTH,
            sides=8,
        ),
    ]
    for side, phase in ((-1, 1), (1, -1)):
        foot = phase * stride
        leg = [(0, side * 0.09, 0.88), (0.5 * foot + 0.03, side * 0.09, 0.48), (foot, side * 0.09, 0.08)]
        parts.append(_limb(leg, [0.085, 0.06, 0.05], Material.CLOTH))
        parts.append(
            _limb([(foot - 0.06, side * 0.09, 0.04), (foot + 0.17, side * 0.09, 0.04)], [0.045, 0.04], Material.RUBBER)
        )
        hand = -phase * swing
        arm = [(0, side * 0.2, 1.42), (0.4 * hand, side * 0.25, 1.12), (hand + 0.05, side * 0.24, 0.86)]
        parts.append(_limb(arm, [0.055, 0.045, 0.04], Material.CLOTH))
    return _to_unit_box(join(parts))


def _bicycle(rng: np.random.Generator) -> Mesh:
    """Two wheels, a frame and a handlebar, metres."""
    turn = rng.uniform(-0.2, 0.2)
    angle = np.linspace(0, 2 * np.pi, 13)
    parts = []
    for x, yaw in ((-0.53, 0.0), (0.53, turn)):
        rim = np.stack([np.cos(yaw) * np.cos(angle), np.sin(yaw) * np.cos(angle), np.sin(angle)], 1) * 0.33
        parts.append(tube(rim + np.array([x, 0, 0.34]), np.array(0.02), Material.RUBBER, sides=4))
    frame = [
        ((-0.53, 0.34), (-0.15, 0.85)),
        ((-0.15, 0.3), (0.4, 0.8)),
        ((-0.15, 0.3), (-0.2, 0.95)),
        ((0.38, 0.95), (0.53, 0.34)),
    ]
    for (x0, z0), (x1, z1) in frame:
        parts.append(tube(np.array([[x0, 0, z0], [x1, 0, z1]]), np.array(0.022), Material.METAL, sides=4))
    bar = np.array([[0.36, -0.27, 1.0], [0.40, 0.0, 0.97], [0.36, 0.27, 1.0]])
    return join([*parts, tube(bar, np.array(0.018), Material.METAL, sides=4)])


@lru_cache(maxsize=64)
def cyclist(variant: int) -> Mesh:
    """A rider on a bicycle, one pedal up and one down."""
    rng = np.random.default_rng([variant, 2])
    lean, pedal = rng.uniform(0.1, 0.4), rng.uniform(0, np.pi)
    shoulder = (-0.15 + lean, 0.0, 1.45)
    parts = [
        _bicycle(rng),
        ellipsoid((shoulder[0] + 0.1, 0, 1.66), (0.1, 0.085, 0.12), Material.SKIN, rows=5, columns=6),
        tube(
            np.array([(-0.2, 0, 0.93), (-0.15 + 0.5 * lean, 0, 1.2), shoulder, (shoulder[0] + 0.06, 0, 1.54)]),
            np.array([0.15, 0.16, 0.17, 0.07]),
            Material.CLOTH,
            sides=7,
        ),
    ]
    for side, phase in ((-1, pedal), (1, pedal + np.pi)):
        foot = np.array([-0.05 + 0.16 * np.cos(phase), side * 0.12, 0.30 + 0.16 * np.sin(phase)])
        knee = np.array([0.17 + 0.3 * (foot[0] + 0.05), side * 0.13, 0.72 + 0.4 * (foot[2] - 0.3)])
        parts.append(
            tube(
                np.stack([[-0.17, side * 0.09, 0.95], knee, foot]),
                np.array([0.085, 0.065, 0.05]),
                Material.CLOTH,
                sides=5,
            )
        )
        arm = [
            (shoulder[0], side * 0.19, 1.42),
            (0.5 * shoulder[0] + 0.17, side * 0.26, 1.18),
            (0.38, side * 0.25, 1.0),
        ]
        parts.append(_limb(arm, [0.055, 0.045, 0.04], Material.CLOTH))
    return _to_unit_box(join(parts))
