"""Random street scenes: what stands and drives where, and its mesh."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Int

from lidar_rank.datasets.simulation import people, scenery, vehicles
from lidar_rank.datasets.simulation.materials import OPTICS, Material
from lidar_rank.datasets.simulation.mesh import Mesh, join, placed
from lidar_rank.datasets.simulation.scanner import Scene, build_scene
from lidar_rank.datasets.simulation.sizes import CLASSES, draw_size
from lidar_rank.datasets.simulation.street import Side, Street

NEAR_M = 85.0
# Annotators draw boxes a little around the points they see.
BOX_MARGIN_M = 0.03
# Colour, intensity and share of the paints on German roads around 2011.
_PAINTS = (
    ((0.06, 0.06, 0.07), 0.02, 0.28),
    ((0.30, 0.31, 0.33), 0.08, 0.20),
    ((0.66, 0.67, 0.69), 0.20, 0.22),
    ((0.90, 0.90, 0.89), 0.30, 0.10),
    ((0.08, 0.14, 0.36), 0.05, 0.10),
    ((0.55, 0.06, 0.07), 0.25, 0.07),
    ((0.10, 0.28, 0.18), 0.08, 0.03),
)


@dataclass(frozen=True, eq=False)
class WorldObject:
    """One labelled object.

    Attributes:
        name: KITTI class.
        box: (x, y, z_bottom, length, width, height, yaw), LiDAR frame.
        vertices: Corners of its mesh, LiDAR frame.
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
        objects: Everything that may get a label; ``scene.owner`` counts in this order.
    """

    scene: Scene
    colour: Float32[np.ndarray, "triangle 3"]
    objects: tuple[WorldObject, ...]


def rectangles_overlap(one: Float[np.ndarray, " 5"], others: Float[np.ndarray, "other 5"]) -> np.ndarray:
    """Whether a rectangle (x, y, length, width, yaw) shares area with each of the others: separating axes.

    Returns:
        Booleans of shape (other,).
    """
    everyone = np.concatenate([one[None], others])
    cos, sin = np.cos(everyone[:, 4]), np.sin(everyone[:, 4])
    axes = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)
    half = everyone[:, 2:4] / 2
    gap = others[:, :2] - one[:2]

    def reach(axis: np.ndarray, i: np.ndarray | slice) -> np.ndarray:
        return (np.abs(np.einsum("ok,oak->oa", axis, axes[i])) * half[i]).sum(-1)

    apart = np.zeros(len(others), bool)
    first, rest = np.zeros(len(others), int), slice(1, None)
    for k in (0, 1):
        for axis in (np.broadcast_to(axes[0, k], (len(others), 2)), axes[1:, k]):
            apart |= np.abs((axis * gap).sum(-1)) > reach(axis, first) + reach(axis, rest)
    return ~apart


@dataclass
class _Builder:
    """A scene in the making."""

    street: Street
    rng: np.random.Generator
    classes: frozenset[str]
    half_angle_rad: float
    meshes: list[Mesh] = field(default_factory=list)
    owners: list[Int[np.ndarray, " triangle"]] = field(default_factory=list)
    albedos: list[Float32[np.ndarray, " triangle"]] = field(default_factory=list)
    colours: list[Float32[np.ndarray, "triangle 3"]] = field(default_factory=list)
    objects: list[WorldObject] = field(default_factory=list)
    taken: list[Float[np.ndarray, " 5"]] = field(default_factory=list)

    def pose(self, s: float, d: float, heading: float) -> tuple[Float[np.ndarray, " 3"], float]:
        return self.street.to_lidar(s, d), self.street.yaw(s) + heading

    def in_view(self, at: Float[np.ndarray, " 3"], radius: float) -> bool:
        distance = float(np.hypot(at[0], at[1]))
        if distance - radius > NEAR_M:
            return False
        slack = np.arcsin(min(1.0, radius / max(distance, 1e-6)))
        return abs(np.arctan2(at[1], at[0])) - slack < self.half_angle_rad

    def claim(self, rectangle: Float[np.ndarray, " 5"], margin: float) -> bool:
        """Reserve ground for something, unless it is taken."""
        wider = rectangle + np.array([0, 0, 2 * margin, 2 * margin, 0])
        if self.taken and rectangles_overlap(wider, np.stack(self.taken)).any():
            return False
        self.taken.append(rectangle)
        return True

    def append(
        self, mesh: Mesh, paint: tuple[tuple[float, float, float], float] | None = None, owner: int = -1
    ) -> None:
        """Add triangles; painted ones take the given colour and intensity, the others vary about their material's."""
        material = mesh.material
        shade = self.rng.standard_normal(len(Material))
        albedo = (OPTICS["albedo"] + OPTICS["spread"] * shade).astype(np.float32)[material]
        tint = np.clip(OPTICS["colour"] * (1 + 0.12 * shade[:, None]), 0, 1).astype(np.float32)[material]
        if paint is not None:
            painted = np.isin(material, [Material.PAINT, Material.CLOTH])
            tint[painted], albedo[painted] = paint[0], paint[1]
        self.meshes.append(mesh)
        self.owners.append(np.full(len(material), owner, np.int32))
        self.albedos.append(np.maximum(albedo, 0))
        self.colours.append(tint)

    def add_scenery(
        self,
        mesh: Mesh,
        s: float,
        d: float,
        *,
        heading: float = 0.0,
        scale: Sequence[float] = (1, 1, 1),
        footprint: tuple[float, float] | None = None,
    ) -> None:
        """Place something without a label, where its footprint (length, width) is free."""
        at, yaw = self.pose(s, d, heading)
        radius = 0.5 * float(np.hypot(scale[0], scale[1])) if footprint is None else 0.5 * max(footprint)
        if not self.in_view(at, max(radius, 2.0)):
            return
        if footprint is not None and not self.claim(np.array([at[0], at[1], *footprint, yaw]), 0.1):
            return
        self.append(placed(mesh, scale=scale, yaw_rad=yaw, at=at))

    def add_object(self, name: str, s: float, d: float, heading: float, margin: float = 0.25) -> bool:
        """Place an object of a class where there is room; its box is a centimetre box around its mesh."""
        if name not in self.classes:
            return False
        at, yaw = self.pose(s, d, heading)
        size = draw_size(name, self.rng)
        if not self.in_view(at, 0.5 * size[0]) or np.hypot(at[0], at[1]) < 3.0 + 0.5 * size[0] * (abs(at[1]) < 1.5):
            return False
        if not self.claim(np.array([at[0], at[1], size[0], size[1], yaw]), margin):
            return False
        body = _body(name, size, self.rng)
        inner = size - np.array([2 * BOX_MARGIN_M, 2 * BOX_MARGIN_M, BOX_MARGIN_M])
        mesh = placed(body, scale=inner, yaw_rad=yaw, at=at)
        yaw = (yaw + np.pi) % (2 * np.pi) - np.pi
        self.append(mesh, _paint(name, self.rng), len(self.objects))
        self.objects.append(WorldObject(name, np.array([*at, *size, yaw]), mesh.vertices))
        return True


def _body(name: str, size: Float[np.ndarray, " 3"], rng: np.random.Generator) -> Mesh:
    """A body of the class that suits the size."""
    variant = int(rng.integers(12))
    if name == "Car":
        return vehicles.car_body(_car_style(size, rng), variant)
    if name == "Van":
        return vehicles.car_body("van" if size[2] > 1.85 or rng.random() < 0.5 else "minivan", variant)
    makers: dict[str, Callable[[int], Mesh]] = {
        "Truck": vehicles.truck_body,
        "Tram": vehicles.tram_body,
        "Misc": vehicles.trailer_body,
        "Pedestrian": people.pedestrian,
        "Cyclist": people.cyclist,
    }
    return makers[name](variant)


def _car_style(size: Float[np.ndarray, " 3"], rng: np.random.Generator) -> str:
    length, _, height = size
    if height > 1.58:
        return str(rng.choice(["minivan", "suv", "hatchback"], p=[0.5, 0.3, 0.2]))
    if length < 3.75:
        return str(rng.choice(["hatchback", "sedan"], p=[0.9, 0.1]))
    return str(rng.choice(["hatchback", "sedan", "estate"], p=[0.35, 0.38, 0.27]))


def _paint(name: str, rng: np.random.Generator) -> tuple[tuple[float, float, float], float]:
    if name in ("Pedestrian", "Cyclist"):
        colour = rng.uniform(0.05, 0.7, 3)
        return (float(colour[0]), float(colour[1]), float(colour[2])), float(rng.uniform(0.1, 0.45))
    share = np.array([p[2] for p in _PAINTS])
    colour_of, albedo, _ = _PAINTS[rng.choice(len(_PAINTS), p=share / share.sum())]
    if name in ("Truck", "Tram", "Van", "Misc"):
        albedo += 0.08
    return colour_of, albedo


@dataclass(frozen=True)
class _Style:
    """How a kind of neighbourhood looks; (low, high) pairs are ranges of a uniform draw, the rest are rates."""

    share: float
    road: tuple[float, float]
    parking: tuple[tuple[str, float], ...]
    occupancy: tuple[float, float]
    pavement: tuple[float, float]
    verge: tuple[float, float]
    boundary: tuple[tuple[str, float], ...]
    traffic_per_100m: tuple[float, float]
    trees_per_100m: tuple[float, float]
    pedestrians: float
    cyclists: float
    crossing: float
    kerb: float = 0.10
    bank: float = 0.03
    curvature: float = 0.002


STREETS = {
    "residential": _Style(
        share=0.40,
        road=(2.6, 3.6),
        parking=(("parallel", 0.65), ("none", 0.30), ("square", 0.05)),
        occupancy=(0.15, 0.95),
        pavement=(1.2, 2.4),
        verge=(0.0, 1.5),
        boundary=(("hedge", 0.3), ("wall", 0.15), ("fence", 0.15), ("bushes", 0.2), ("open", 0.2)),
        traffic_per_100m=(0.2, 2.0),
        trees_per_100m=(1, 8),
        pedestrians=0.7,
        cyclists=0.25,
        crossing=0.35,
    ),
    "city": _Style(
        share=0.25,
        road=(3.2, 6.8),
        parking=(("parallel", 0.45), ("diagonal", 0.15), ("square", 0.1), ("none", 0.3)),
        occupancy=(0.3, 1.0),
        pavement=(2.5, 5.0),
        verge=(0.0, 1.0),
        boundary=(("facade", 0.6), ("wall", 0.1), ("bushes", 0.1), ("open", 0.2)),
        traffic_per_100m=(1.0, 5.0),
        trees_per_100m=(0, 8),
        pedestrians=2.2,
        cyclists=0.6,
        crossing=0.5,
    ),
    "arterial": _Style(
        share=0.2,
        road=(5.0, 8.5),
        parking=(("none", 0.8), ("parallel", 0.2)),
        occupancy=(0.1, 0.7),
        pavement=(0.0, 3.0),
        verge=(1.0, 6.0),
        boundary=(("bushes", 0.4), ("hedge", 0.15), ("open", 0.3), ("wall", 0.15)),
        traffic_per_100m=(0.5, 5.0),
        trees_per_100m=(1, 10),
        pedestrians=0.25,
        cyclists=0.15,
        crossing=0.4,
        curvature=0.004,
    ),
    "country": _Style(
        share=0.15,
        road=(3.4, 5.5),
        parking=(("none", 1.0),),
        occupancy=(0.0, 0.0),
        pavement=(0.0, 0.0),
        verge=(1.0, 5.0),
        boundary=(("rail", 0.3), ("bushes", 0.4), ("open", 0.3)),
        traffic_per_100m=(0.3, 2.5),
        trees_per_100m=(1, 12),
        pedestrians=0.02,
        cyclists=0.05,
        crossing=0.1,
        kerb=0.02,
        bank=0.15,
        curvature=0.005,
    ),
}


def _pick(options: tuple[tuple[str, float], ...], rng: np.random.Generator) -> str:
    names, shares = zip(*options, strict=True)
    return str(rng.choice(names, p=np.array(shares) / sum(shares)))


def _draw_street(style: _Style, rng: np.random.Generator) -> tuple[Street, tuple[str, str]]:
    """A street of a style, and how vehicles are parked on its left and right side."""
    road = rng.uniform(*style.road)
    kinds = (_pick(style.parking, rng), _pick(style.parking, rng))
    depth = {"none": 0.0, "parallel": 2.1, "diagonal": 4.6, "square": 5.0}
    sides = [
        Side(
            road=road,
            parking=depth[kind],
            pavement=rng.uniform(*style.pavement),
            verge=rng.uniform(*style.verge) * (rng.random() < 0.7) + 0.05,
            kerb=style.kerb * rng.uniform(0.6, 1.4),
            bank=rng.normal(0, style.bank),
        )
        for kind in kinds
    ]
    crossings = []
    if rng.random() < style.crossing:
        start = rng.uniform(4, 55)
        crossings.append((start, start + rng.uniform(6, 14)))
    waves = np.stack(
        [rng.normal(0, 0.02, 4), rng.uniform(0.05, 0.5, 4), rng.uniform(-0.4, 0.4, 4), rng.uniform(0, 6.28, 4)], 1
    )
    street = Street(
        left=sides[0],
        right=sides[1],
        curvature_per_m=rng.normal(0, style.curvature),
        ego_d=-rng.uniform(0.35, 0.65) * road if road < 5 or rng.random() < 0.5 else -rng.uniform(0.2, 0.8) * road,
        ego_yaw_rad=rng.normal(0, 0.03),
        pitch=rng.normal(0.009, 0.007),
        roll=rng.normal(0.001, 0.011),
        bend=rng.normal(0, 0.00012),
        crossings=tuple(crossings),
        waves=waves,
    )
    return street, kinds


def _park(builder: _Builder, side: int, kind: str, occupancy: float, s_low: float) -> None:
    """Fill a parking strip, slot by slot."""
    rng, street = builder.rng, builder.street
    edge = street.left if side > 0 else street.right
    pitch = {"parallel": 5.6, "diagonal": 3.3, "square": 2.6}[kind]
    d_middle = side * (edge.road + edge.parking / 2)
    forward = rng.random() < 0.75
    tilt = rng.uniform(0.6, 1.0) if kind == "diagonal" else np.pi / 2
    for s in np.arange(s_low + rng.uniform(0, pitch), NEAR_M, pitch * rng.uniform(0.97, 1.15)):
        if rng.random() > occupancy or street.in_crossing(s, margin=5.0) > 0:
            continue
        along = 0.0 if (side < 0) == forward or rng.random() < 0.08 else np.pi
        heading = along + rng.normal(0, 0.03)
        if kind != "parallel":
            heading = side * tilt + (np.pi if rng.random() < 0.3 else 0.0) + rng.normal(0, 0.03)
        name = str(rng.choice(["Car", "Van", "Misc", "Truck"], p=[0.88, 0.09, 0.02, 0.01]))
        builder.add_object(name, s + rng.normal(0, 0.25), d_middle + rng.normal(0, 0.12), heading, margin=0.15)


def _drive(builder: _Builder, style: _Style, s_low: float) -> None:
    """Traffic on the lanes, to both sides of the centre line, and across a crossing."""
    rng, street = builder.rng, builder.street
    rate = rng.uniform(*style.traffic_per_100m) / 100
    for side in (-1, 1):
        road = (street.left if side > 0 else street.right).road
        lanes = max(1, int(road // 3.0))
        for lane in range(lanes):
            d = side * (lane + 0.5) * road / lanes
            s = s_low + rng.exponential(12)
            while s < NEAR_M:
                heading = (0.0 if side < 0 else np.pi) + rng.normal(0, 0.025)
                name = str(
                    rng.choice(
                        ["Car", "Van", "Truck", "Cyclist", "Tram", "Misc"], p=[0.83, 0.075, 0.05, 0.02, 0.015, 0.01]
                    )
                )
                builder.add_object(name, s, d + rng.normal(0, 0.25), heading, margin=0.4)
                s += 6.0 + rng.exponential(1 / max(rate, 1e-3))
    for start, end in street.crossings:
        for _ in range(rng.poisson(1.2)):
            d = rng.choice([-1, 1]) * rng.uniform(3, 35)
            towards = rng.choice([-1, 1])
            s = 0.5 * (start + end) + towards * 0.22 * (end - start)
            builder.add_object(
                "Car" if rng.random() < 0.9 else "Van", s, d, towards * np.pi / 2 + rng.normal(0, 0.15), margin=0.4
            )


def _walk(builder: _Builder, style: _Style, s_low: float) -> None:
    """People: alone or in groups on the pavements, some on the road."""
    rng, street = builder.rng, builder.street
    for name, rate in (("Pedestrian", style.pedestrians), ("Cyclist", style.cyclists)):
        # A heavy tail: most streets are empty, a few are full.
        for _ in range(rng.poisson(rate * rng.gamma(0.5, 2.0))):
            side = rng.choice([-1, 1])
            edge = street.left if side > 0 else street.right
            s = s_low + rng.gamma(2.0, 10.0)
            d = side * rng.uniform(edge.kerb_at + 0.3, edge.kerb_at + max(edge.pavement, 1.5))
            heading = rng.choice([0.0, np.pi]) + rng.normal(0, 0.3)
            if name == "Cyclist" and rng.random() < 0.6:
                d, heading = side * (edge.road - 0.6), (0.0 if side < 0 else np.pi) + rng.normal(0, 0.1)
            elif name == "Pedestrian" and rng.random() < 0.15:
                d, heading = rng.uniform(-edge.road, edge.road), rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.3)
            for member in range(1 + rng.binomial(3, 0.2) if name == "Pedestrian" else 1):
                builder.add_object(name, s + 0.7 * member, d + rng.normal(0, 0.3), heading, margin=0.05)


def _border(builder: _Builder, side: int, style: _Style, s_low: float) -> None:
    """Hedges, walls, fences, houses, bushes or rails along the boundary of one side, in stretches."""
    rng, street = builder.rng, builder.street
    edge = street.left if side > 0 else street.right
    s = s_low
    kind = _pick(style.boundary, rng)
    while s < NEAR_M:
        length = rng.uniform(5, 22)
        if rng.random() < 0.35:
            kind = _pick(style.boundary, rng)
        if street.in_crossing(np.linspace(s, s + length, 8), margin=1.0).max() == 0:
            _stretch(builder, kind, s, length, side, side * (edge.boundary_at + 0.6))
        s += length + rng.exponential(1.5)
    for s in np.arange(s_low + rng.uniform(0, 15), NEAR_M, rng.uniform(14, 24)):
        back = edge.boundary_at + rng.uniform(4, 12)
        if rng.random() < 0.6 and style.kerb > 0.05 and street.in_crossing(s, margin=6.0) == 0:
            size = (rng.uniform(9, 14), rng.uniform(8, 12))
            heading = 0.0 if side > 0 else np.pi
            builder.add_scenery(
                scenery.house(int(rng.integers(12))),
                s,
                side * (back + size[1] / 2),
                heading=heading,
                scale=(*size, 1),
                footprint=size,
            )


def _stretch(builder: _Builder, kind: str, s: float, length: float, side: int, d: float) -> None:
    """One stretch of boundary."""
    rng = builder.rng
    middle, face = s + length / 2, 0.0 if side > 0 else np.pi
    if kind == "hedge":
        depth, height = rng.uniform(0.7, 1.6), rng.uniform(0.9, 2.6)
        mesh = scenery.hedge(int(rng.integers(16)))
        builder.add_scenery(
            mesh, middle, d + side * depth / 2, heading=face, scale=(length, depth, height), footprint=(length, depth)
        )
    elif kind == "wall":
        material = (Material.STONE, Material.PLASTER)[int(rng.integers(2))]
        size = (length, 0.3, rng.uniform(0.5, 2.2))
        builder.add_scenery(scenery.wall(material), middle, d, scale=size, footprint=(length, 0.3))
    elif kind == "fence":
        mesh = scenery.picket_fence(12)
        for piece in np.arange(s, s + length - 2.5, 2.6):
            builder.add_scenery(mesh, piece + 1.3, d, scale=(2.5, 1, rng.uniform(0.9, 1.5)), footprint=(2.5, 0.1))
    elif kind == "facade":
        deep = rng.uniform(8, 12)
        mesh = scenery.house(int(rng.integers(12)))
        builder.add_scenery(
            mesh, middle, d + side * deep / 2, heading=face, scale=(length, deep, 1), footprint=(length, deep)
        )
    elif kind == "rail":
        for piece in np.arange(s, s + length, 4.0):
            builder.add_scenery(
                scenery.guard_rail(), piece + 2, d - side * 1.0, heading=face, scale=(4, 1, 1), footprint=(4, 0.15)
            )
    elif kind == "bushes":
        for at in np.arange(s, s + length, 1.8):
            wide = rng.uniform(1.2, 3.5)
            size = (wide, wide, rng.uniform(0.7, 3.5))
            builder.add_scenery(
                scenery.bush(int(rng.integers(24))),
                at,
                d + side * rng.uniform(0.5, 3.0),
                heading=rng.uniform(0, 6),
                scale=size,
                footprint=(0.7 * wide, 0.7 * wide),
            )


def _furnish(builder: _Builder, side: int, style: _Style, s_low: float) -> None:
    """Trees, poles, signs and boxes along the kerb."""
    rng, street = builder.rng, builder.street
    edge = street.left if side > 0 else street.right
    kerb = edge.kerb_at + 0.5
    outer = max(edge.boundary_at, kerb + 0.4)

    def spots(per_100m: float) -> Float[np.ndarray, " spot"]:
        found = rng.uniform(s_low, NEAR_M, rng.poisson(per_100m * (NEAR_M - s_low) / 100))
        return found[street.in_crossing(found, margin=0.5) == 0]

    row = kerb if rng.random() < 0.5 else outer + 1.5
    for s in spots(rng.uniform(*style.trees_per_100m)):
        grown = rng.uniform(0.7, 1.3)
        builder.add_scenery(
            scenery.tree(int(rng.integers(32))),
            s,
            side * (row + rng.uniform(-0.2, 0.6)),
            heading=rng.uniform(0, 6),
            scale=(grown, grown, grown),
            footprint=(0.5, 0.5),
        )
    for s in spots(rng.uniform(0, 8)):
        builder.add_scenery(
            scenery.tree(int(rng.integers(32))),
            s,
            side * (outer + rng.uniform(2, 25)),
            heading=rng.uniform(0, 6),
            footprint=(0.5, 0.5),
        )
    for s in spots(rng.uniform(1, 5)):
        thick = rng.uniform(0.08, 0.22)
        builder.add_scenery(
            scenery.pole(), s, side * kerb, scale=(thick, thick, rng.uniform(3.5, 9)), footprint=(thick, thick)
        )
    for s in spots(rng.uniform(0, 4)):
        facing = 0.0 if side < 0 else np.pi
        builder.add_scenery(scenery.sign(int(rng.integers(8))), s, side * kerb, heading=facing, footprint=(0.1, 0.6))
    for s in spots(rng.uniform(0, 3)):
        size = (rng.uniform(0.4, 1.6), rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.5))
        builder.add_scenery(
            scenery.street_box(int(rng.integers(9))), s, side * (outer - 0.2), scale=size, footprint=size[:2]
        )


def make_world(rng: np.random.Generator, *, half_angle_rad: float = np.pi, classes: Sequence[str] = CLASSES) -> World:
    """Draw a street scene around a sensor at the origin of the LiDAR frame.

    Args:
        rng: The only source of chance.
        half_angle_rad: Things further off the sensor's forward axis than this are left out.
        classes: Classes of labelled objects that may appear.

    Returns:
        The scene; no two things on its ground overlap.

    Raises:
        ValueError: a class is unknown.
    """
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown:
        raise ValueError(f"unknown classes {unknown}: choose from {', '.join(CLASSES)}")
    style = list(STREETS.values())[rng.choice(len(STREETS), p=[s.share for s in STREETS.values()])]
    street, parking = _draw_street(style, rng)
    s_low = -NEAR_M if half_angle_rad > np.pi / 2 else -4.0
    builder = _Builder(street, rng, frozenset(classes), half_angle_rad)
    builder.taken.append(np.array([0.2, 0.0, 4.9, 1.9, 0.0]))
    builder.append(street.ground(s_low - 6.0, NEAR_M))
    builder.append(vehicles.ego_body())
    _drive(builder, style, s_low)
    for side, kind in zip((1, -1), parking, strict=True):
        if kind != "none":
            _park(builder, side, kind, rng.uniform(*style.occupancy), s_low)
    _walk(builder, style, s_low)
    for side in (1, -1):
        _furnish(builder, side, style, s_low)
        _border(builder, side, style, s_low)
    scene = build_scene(join(builder.meshes), np.concatenate(builder.owners), np.concatenate(builder.albedos))
    return World(scene, np.concatenate(builder.colours), tuple(builder.objects))
