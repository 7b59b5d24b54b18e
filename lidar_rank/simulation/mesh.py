"""Triangle meshes as plain arrays, and the primitives from which all shapes are built."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8, UInt32
from numpy.typing import ArrayLike

from lidar_rank.simulation.materials import Material


@dataclass(frozen=True)
class Mesh:
    """Triangles with one material each.

    Attributes:
        vertices: Vertices in metres (or in the unit box, for a shape that is scaled later).
        triangles: Indices into ``vertices``.
        material: Material of each triangle: a row of the table of optics.
    """

    vertices: Float[np.ndarray, "vertex 3"]
    triangles: UInt32[np.ndarray, "triangle 3"]
    material: UInt8[np.ndarray, " triangle"]


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Join the triangles of all meshes into one mesh."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])]).astype(np.uint32)
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.triangles + o for m, o in zip(meshes, offsets, strict=True)]),
        np.concatenate([m.material for m in meshes]),
    )


def grid(points: Float[np.ndarray, "row column 3"], material: Material | Int[np.ndarray, "..."]) -> Mesh:
    """Make two triangles for every cell of a grid of points.

    Args:
        points: The corners of the cells.
        material: One material for all cells, or one per cell, of shape (row - 1, column - 1).
    """
    rows, columns = points.shape[:2]
    corner = np.arange(rows * columns, dtype=np.uint32).reshape(rows, columns)
    a, b, c, d = (x.ravel() for x in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
    triangles = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    per_cell = np.broadcast_to(np.asarray(material, np.uint8), (rows - 1, columns - 1))
    return Mesh(points.reshape(-1, 3).astype(np.float32), triangles, np.repeat(per_cell.ravel(), 2))


def box(low: Sequence[float], high: Sequence[float], material: Material) -> Mesh:
    """Make an axis-aligned box between two opposite corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    corners = np.array([[x, y, z] for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)], np.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.uint32)
    return Mesh(corners, triangles, np.full(12, material, np.uint8))


def tube(
    path: Float[np.ndarray, "station 3"], radius: Float[np.ndarray, "..."], material: Material, sides: int = 6
) -> Mesh:
    """Make a tube of round cross-sections along a path, closed at both ends.

    Args:
        path: Centres of the cross-sections, metres.
        radius: One radius for all stations, or one per station, metres.
        material: Material of the whole tube.
        sides: Number of corners of a cross-section.
    """
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    helper = np.where(np.abs(along[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    u = np.cross(along, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(along, u)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.cos(angle)[None, :, None] * u[:, None] + np.sin(angle)[None, :, None] * v[:, None]
    radius = np.broadcast_to(np.asarray(radius, float), len(path))
    points = path[:, None] + radius[:, None, None] * ring
    closed = np.concatenate([path[:1, None].repeat(sides + 1, 1), points, path[-1:, None].repeat(sides + 1, 1)])
    return grid(closed, material)


def ellipsoid(centre: ArrayLike, radii: ArrayLike, material: Material, rows: int = 6, columns: int = 8) -> Mesh:
    """Make an ellipsoid with its axes along x, y and z."""
    polar = np.linspace(0, np.pi, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns + 1)[None]
    unit = np.stack(
        np.broadcast_arrays(np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), -np.cos(polar)), -1
    )
    return grid(unit * np.asarray(radii) + np.asarray(centre), material)
