"""Place shapes on the ground of a street without overlap, and join them into one scene."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from lidar_rank.simulation.materials import OPTICS, Material
from lidar_rank.simulation.mesh import Mesh
from lidar_rank.simulation.scanner import Scene, build_scene
from lidar_rank.simulation.street import Street

VIEW_M: Final = 85.0
# Footprint of the sensor's own vehicle with a margin: x and y of its centre, length, width and yaw.
EGO_FOOTPRINT: Final = (1.0, 0.0, 7.0, 3.0, 0.0)

Rectangle = tuple[float, float, float, float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class WorldObject:
    """One object that may get a label.

    Attributes:
        name: KITTI class.
        box: (x, y, z_bottom, length, width, height, yaw), LiDAR frame.
        vertices: Vertices of its mesh, LiDAR frame.
    """

    name: str
    box: Float[np.ndarray, " 7"]
    vertices: Float32[np.ndarray, "vertex 3"]


@dataclass(frozen=True, eq=False)
class World:
    """A street scene around the sensor.

    Attributes:
        scene: Its triangles.
        colour: RGB per triangle, in [0, 1].
        objects: Everything that may get a label; ``scene.owner`` is an index into it.
    """

    scene: Scene
    colour: Float32[np.ndarray, "triangle 3"]
    objects: tuple[WorldObject, ...]


@dataclass(frozen=True)
class Paint:
    """Colour and intensity (albedo) of the painted or clothed parts of an object."""

    colour: Colour
    albedo: float


@dataclass(frozen=True)
class _Instance:
    """A shape, its place and, for an object with a label, its class and size."""

    mesh: Mesh
    s: float
    d: float
    rectangle: Rectangle
    scale: Sequence[float]
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    paint: Paint | None = None
    name: str | None = None
    size: Sequence[float] | Float[np.ndarray, " 3"] = (0.0, 0.0, 0.0)


def rectangles_overlap(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles (x, y, length, width, yaw) share area, by the separating-axis test."""
    dx, dy = other[0] - one[0], other[1] - one[1]
    turn = other[4] - one[4]
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    for rectangle, (length, width) in ((one, other[2:4]), (other, one[2:4])):
        c, s = math.cos(rectangle[4]), math.sin(rectangle[4])
        if 2 * abs(c * dx + s * dy) >= rectangle[2] + length * cos + width * sin:
            return False
        if 2 * abs(c * dy - s * dx) >= rectangle[3] + length * sin + width * cos:
            return False
    return True


class SceneBuilder:
    """Collects the shapes of a scene and keeps their footprints apart."""

    def __init__(self, street: Street, *, half_angle_rad: float) -> None:
        """Start with an empty street.

        Args:
            street: The ground.
            half_angle_rad: Shapes at a larger angle from the sensor's forward axis are left out.
        """
        self.street = street
        self.half_angle_rad = half_angle_rad
        self.num_objects = 0
        self._fixed: list[Mesh] = []
        self._instances: list[_Instance] = []
        self._taken: list[tuple[float, Rectangle]] = [(math.hypot(*EGO_FOOTPRINT[2:4]) / 2, EGO_FOOTPRINT)]

    def add_fixed(self, mesh: Mesh) -> None:
        """Add a mesh that is already in the LiDAR frame."""
        self._fixed.append(mesh)

    def add_scenery(
        self,
        mesh: Mesh,
        s: float,
        d: float,
        *,
        footprint: tuple[float, float],
        heading: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> bool:
        """Add a shape without a label, if its footprint (length and width in metres) is in view and free.

        Returns:
            Whether the shape was added.
        """
        rectangle = self._rectangle(s, d, heading, footprint)
        if not self._in_view(rectangle) or not self._claim(rectangle, 0.05):
            return False
        self._instances.append(_Instance(mesh, s, d, rectangle, scale))
        return True

    def add_object(
        self,
        name: str,
        mesh: Mesh,
        size: Float[np.ndarray, " 3"],
        s: float,
        d: float,
        *,
        heading: float,
        paint: Paint,
        gap_m: float,
        inset_m: Float[np.ndarray, " 5"],
        lift_m: float,
    ) -> bool:
        """Add an object with a label, if there is room for its box and a gap around it.

        Args:
            name: KITTI class.
            mesh: Body in the unit box.
            size: Length, width and height of the labelled box, metres.
            s: Position along the street, metres.
            d: Position across the street, metres.
            heading: Yaw relative to the direction of the street, radians.
            paint: Paint of its painted or clothed parts.
            gap_m: Free space required on all sides.
            inset_m: Distance from the rear, front, right, left and upper face of the box to the body.
            lift_m: Height of the bottom of box and body above the ground.

        Returns:
            Whether the object was added.
        """
        rectangle = self._rectangle(s, d, heading, (size[0], size[1]))
        if not self._in_view(rectangle) or not self._claim(rectangle, gap_m):
            return False
        rear, front, right, left, top = inset_m
        scale = (size[0] - rear - front, size[1] - right - left, size[2] - top)
        ahead, aside, yaw = (rear - front) / 2, (right - left) / 2, rectangle[4]
        shift = (
            math.cos(yaw) * ahead - math.sin(yaw) * aside,
            math.sin(yaw) * ahead + math.cos(yaw) * aside,
            lift_m,
        )
        self._instances.append(_Instance(mesh, s, d, rectangle, scale, shift, paint, name, size))
        self.num_objects += 1
        return True

    def finish(self, rng: np.random.Generator) -> World:
        """Join everything to a world. Materials vary a little between instances."""
        instances = self._instances
        at = self.street.to_lidar([i.s for i in instances], [i.d for i in instances])
        at += np.array([i.shift for i in instances]).reshape(-1, 3)
        meshes = [*self._fixed, *(i.mesh for i in instances)]
        vertices = _place(
            [i.mesh for i in instances],
            np.array([i.scale for i in instances]).reshape(-1, 3),
            np.array([i.rectangle[4] for i in instances]),
            at,
        )
        starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
        counts = [len(m.triangles) for m in meshes]
        triangles = np.concatenate([m.triangles for m in meshes])
        triangles += np.repeat(starts[:-1], counts).astype(np.uint32)[:, None]
        mesh = Mesh(
            np.concatenate([*(m.vertices for m in self._fixed), vertices]),
            triangles,
            np.concatenate([m.material for m in meshes]),
        )
        labelled = np.array([False] * len(self._fixed) + [i.name is not None for i in instances])
        owner_of = np.where(labelled, np.cumsum(labelled) - 1, -1)
        albedo, colour = self._surfaces(mesh, counts, rng)
        scene = build_scene(mesh, np.repeat(owner_of, counts), albedo)
        objects = tuple(
            WorldObject(i.name, _box(i, z_bottom), mesh.vertices[start : start + len(i.mesh.vertices)])
            for i, z_bottom, start in zip(instances, at[:, 2], starts[len(self._fixed) : -1], strict=True)
            if i.name is not None
        )
        return World(scene, colour, objects)

    def _surfaces(
        self, mesh: Mesh, counts: Sequence[int], rng: np.random.Generator
    ) -> tuple[Float32[np.ndarray, " triangle"], Float32[np.ndarray, "triangle 3"]]:
        """Intensity and colour of every triangle; ``counts`` is the number of triangles of each instance."""
        things, materials = len(counts), len(Material)
        shade = rng.standard_normal((things, materials)).astype(np.float32)
        albedo = np.maximum(OPTICS["albedo"] + OPTICS["spread"] * shade, 0)
        colour = np.clip(OPTICS["colour"] * (1 + 0.12 * shade[..., None]), 0, 1)
        for row, instance in enumerate(self._instances, start=len(self._fixed)):
            if instance.paint is not None:
                for material in (Material.PAINT, Material.CLOTH):
                    albedo[row, material], colour[row, material] = instance.paint.albedo, instance.paint.colour
        thing = np.repeat(np.arange(things), counts)
        return albedo[thing, mesh.material], colour[thing, mesh.material]

    def _rectangle(self, s: float, d: float, heading: float, footprint: Sequence[float]) -> Rectangle:
        x, y = self.street.plan(s, d)
        return float(x), float(y), footprint[0], footprint[1], self.street.yaw(s) + heading

    def _in_view(self, rectangle: Rectangle) -> bool:
        distance = math.hypot(rectangle[0], rectangle[1])
        radius = math.hypot(rectangle[2], rectangle[3]) / 2
        if distance - radius > VIEW_M:
            return False
        slack = math.asin(min(1.0, radius / max(distance, 1e-6)))
        return abs(math.atan2(rectangle[1], rectangle[0])) - slack < self.half_angle_rad

    def _claim(self, rectangle: Rectangle, gap_m: float) -> bool:
        """Reserve a footprint, unless a part of it is taken. Return whether it was reserved."""
        x, y, length, width, yaw = rectangle
        wider = (x, y, length + 2 * gap_m, width + 2 * gap_m, yaw)
        reach = math.hypot(wider[2], wider[3]) / 2
        for radius, other in self._taken:
            near = (other[0] - x) ** 2 + (other[1] - y) ** 2 < (radius + reach) ** 2
            if near and rectangles_overlap(wider, other):
                return False
        self._taken.append((math.hypot(length, width) / 2, rectangle))
        return True


def _place(
    meshes: Sequence[Mesh],
    scale: Float[np.ndarray, "thing 3"],
    yaw_rad: Float[np.ndarray, " thing"],
    at: Float[np.ndarray, "thing 3"],
) -> Float32[np.ndarray, "vertex 3"]:
    """Scale, turn and move the vertices of many meshes at once."""
    if not meshes:
        return np.zeros((0, 3), np.float32)
    thing = np.repeat(np.arange(len(meshes)), [len(m.vertices) for m in meshes])
    scaled = np.concatenate([m.vertices for m in meshes]) * scale.astype(np.float32)[thing]
    cos, sin = np.cos(yaw_rad).astype(np.float32)[thing], np.sin(yaw_rad).astype(np.float32)[thing]
    turned = np.stack(
        [cos * scaled[:, 0] - sin * scaled[:, 1], sin * scaled[:, 0] + cos * scaled[:, 1], scaled[:, 2]], 1
    )
    return turned + at.astype(np.float32)[thing]


def _box(instance: _Instance, z_bottom: float) -> Float[np.ndarray, " 7"]:
    x, y, _, _, yaw = instance.rectangle
    return np.array([x, y, z_bottom, *instance.size, (yaw + np.pi) % (2 * np.pi) - np.pi])
