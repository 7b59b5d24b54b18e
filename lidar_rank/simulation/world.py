"""Random street scenes: traffic, parked vehicles, people and everything beside the road."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float

from lidar_rank.simulation import people, scenery, vehicles
from lidar_rank.simulation.builder import VIEW_M, Paint, SceneBuilder, World
from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import Mesh
from lidar_rank.simulation.sizes import CLASSES, check_classes, draw_size
from lidar_rank.simulation.street import Side
from lidar_rank.simulation.styles import STYLES, Style, draw_street, pick

# Smallest and largest distance between a body and the rear, front, right, left and upper face of its box. The
# means put the nearest points of cars as far from the faces as in real scans: tools/studies/sim_vs_real.py prints both.
VEHICLE_INSET_M: Final = ((0.0, 0.0, 0.0, 0.0, 0.0), (0.085, 0.085, 0.02, 0.02, 0.0))
PERSON_INSET_M: Final = (0.0, 0.04)
# Height of the bottom of labelled boxes above the ground beside them: mean and standard deviation in real scans.
LIFT_M: Final = 0.02
LIFT_STD_M: Final = 0.035
PERSONS: Final = ("Pedestrian", "Cyclist")
VARIANTS: Final = 16
# Colour, intensity and share of each paint of cars.
PAINTS: Final = (
    (Paint((0.06, 0.06, 0.07), 0.06), 0.28),
    (Paint((0.30, 0.31, 0.33), 0.11), 0.20),
    (Paint((0.66, 0.67, 0.69), 0.22), 0.22),
    (Paint((0.90, 0.90, 0.89), 0.35), 0.10),
    (Paint((0.08, 0.14, 0.36), 0.10), 0.10),
    (Paint((0.55, 0.06, 0.07), 0.26), 0.07),
    (Paint((0.10, 0.28, 0.18), 0.09), 0.03),
)
# In the sensor's own lane, no vehicle is nearer than FOLLOWING_M. The lane extends OWN_LANE_M to either side.
FOLLOWING_M: Final = 13.0
OWN_LANE_M: Final = 2.0
# Mean distance to the first vehicle of a lane, as a share of the mean distance between vehicles.
FIRST_GAP: Final = 0.28
SLOT_M: Final = {"parallel": 5.6, "diagonal": 3.3, "square": 2.6}
PARKED: Final = (("Car", 0.885), ("Van", 0.07), ("Misc", 0.028), ("Truck", 0.018))
DRIVING: Final = (("Car", 0.79), ("Van", 0.06), ("Truck", 0.055), ("Cyclist", 0.02), ("Tram", 0.04), ("Misc", 0.03))
CROSSING: Final = (("Car", 0.92), ("Van", 0.08))


def make_world(rng: np.random.Generator, *, half_angle_rad: float = np.pi, classes: Sequence[str] = CLASSES) -> World:
    """Draw a street scene around a sensor at the origin of the LiDAR frame.

    Args:
        rng: The only source of randomness.
        half_angle_rad: Shapes at a larger angle from the sensor's forward axis are left out.
        classes: Classes of labelled objects that may appear.

    Returns:
        The scene. No two footprints overlap.

    Raises:
        ValueError: a class is unknown.
    """
    check_classes(classes)
    style = pick([(style, style.share) for style in STYLES.values()], rng)
    street, parking = draw_street(style, rng)
    start = -VIEW_M if half_angle_rad > np.pi / 2 else -4.0
    builder = SceneBuilder(street, half_angle_rad=half_angle_rad)
    builder.add_fixed(street.ground(start - 6.0, VIEW_M))
    builder.add_fixed(vehicles.ego_body())
    scene = _Populating(builder, style, rng, frozenset(classes), start)
    scene.drive()
    for side, kind in zip((1, -1), parking, strict=True):
        if kind != "none":
            scene.park(side, kind)
    scene.walk()
    for side in (1, -1):
        scene.line_kerb(side)
        scene.line_boundary(side)
        scene.close_view(side)
    return builder.finish(rng)


class _Populating:
    """The steps that fill a street. Each step adds only what there is room for."""

    def __init__(
        self, builder: SceneBuilder, style: Style, rng: np.random.Generator, classes: frozenset[str], start: float
    ) -> None:
        self.builder, self.style, self.rng, self.classes, self.start = builder, style, rng, classes, start
        self.street = builder.street
        self.occupancy = rng.uniform(*style.occupancy)

    def side(self, side: int) -> Side:
        return self.street.left if side > 0 else self.street.right

    def add(self, name: str, s: float, d: float, heading: float, gap_m: float) -> None:
        """Add an object of a class, if the class is to appear."""
        if name in self.classes:
            add_object(self.builder, name, s, d, heading=heading, gap_m=gap_m, rng=self.rng)

    def spots(self, per_100m: float) -> Iterator[float]:
        """Random positions along the street, outside crossings."""
        found = self.rng.uniform(self.start, VIEW_M, self.rng.poisson(per_100m * (VIEW_M - self.start) / 100))
        yield from found[self.street.in_crossing(found, margin=0.5) == 0]

    def drive(self) -> None:
        """Traffic on the lanes of both directions, and on a crossing."""
        rng, street = self.rng, self.street
        rate = self.style.traffic * rng.gamma(0.9, 1.1) / 100
        for side in (-1, 1):
            road = self.side(side).road
            lanes = max(1, int(road // 3.0))
            for d in side * (np.arange(lanes) + 0.5) * road / lanes:
                s = self.start + rng.exponential(FIRST_GAP / max(rate, 1e-3))
                while s < VIEW_M:
                    heading = (0.0 if side < 0 else np.pi) + rng.normal(0, 0.015)
                    # Drivers also keep their distance from the sensor's vehicle.
                    if abs(d - street.ego_d) > OWN_LANE_M or abs(s) > FOLLOWING_M:
                        self.add(pick(DRIVING, rng), s, d + rng.normal(0, 0.25), heading, gap_m=0.5)
                    s += 6.0 + rng.exponential(1 / max(rate, 1e-3))
        for first, last in street.crossings:
            for _ in range(rng.poisson(2.5)):
                towards = rng.choice([-1, 1])
                s = 0.5 * (first + last) + towards * 0.22 * (last - first)
                d = rng.choice([-1, 1]) * rng.uniform(2, 35)
                self.add(pick(CROSSING, rng), s, d, towards * np.pi / 2 + rng.normal(0, 0.15), gap_m=0.5)

    def park(self, side: int, kind: str) -> None:
        """Fill the slots of a parking strip."""
        rng, edge, slot = self.rng, self.side(side), SLOT_M[kind]
        tilt = rng.uniform(0.6, 1.0) if kind == "diagonal" else np.pi / 2
        along = 0.0 if side < 0 or rng.random() < 0.25 else np.pi
        for s in np.arange(self.start + rng.uniform(0, slot), VIEW_M, slot * rng.uniform(0.97, 1.15)):
            if rng.random() > self.occupancy or self.street.in_crossing(s, margin=5.0) > 0:
                continue
            if kind == "parallel":
                heading = along + np.pi * (rng.random() < 0.08)
            else:
                heading = side * tilt + np.pi * (rng.random() < 0.3)
            d = side * (edge.road + edge.parking / 2) + rng.normal(0, 0.12)
            self.add(pick(PARKED, rng), s + rng.normal(0, 0.25), d, heading + rng.normal(0, 0.02), gap_m=0.15)

    def walk(self) -> None:
        """People alone or in groups, on pavements or on the road. Most streets are empty and a few are full."""
        rng, style = self.rng, self.style
        for _ in range(rng.poisson(style.pedestrians * rng.gamma(0.4, 2.5))):
            side, s = rng.choice([-1, 1]), self.start + rng.gamma(2.0, 10.0)
            edge = self.side(side)
            d = side * (edge.kerb_at + rng.uniform(0.3, max(edge.pavement, 1.5)))
            heading = rng.choice([0.0, np.pi]) + rng.normal(0, 0.3)
            if rng.random() < 0.15:
                d, heading = rng.uniform(-edge.road, edge.road), heading + np.pi / 2
            for member in range(1 + rng.binomial(3, 0.2)):
                self.add("Pedestrian", s + 0.7 * member, d + rng.normal(0, 0.3), heading, gap_m=0.05)
        for _ in range(rng.poisson(style.cyclists * rng.gamma(0.5, 2.0))):
            side, s = rng.choice([-1, 1]), self.start + rng.gamma(2.0, 13.0)
            edge = self.side(side)
            d = side * (edge.road - 0.6 if rng.random() < 0.6 else edge.kerb_at + 0.8)
            self.add("Cyclist", s, d, (0.0 if side < 0 else np.pi) + rng.normal(0, 0.15), gap_m=0.05)

    def line_kerb(self, side: int) -> None:
        """Trees, poles, signs and boxes between the kerb and the boundary."""
        rng, edge = self.rng, self.side(side)
        kerb, outer = edge.kerb_at + 0.5, max(edge.boundary_at, edge.kerb_at + 0.9)
        row = kerb if rng.random() < 0.5 else outer + 1.5
        for s in self.spots(rng.uniform(*self.style.trees)):
            self._add_tree(s, side * (row + rng.uniform(-0.2, 0.6)))
        for s in self.spots(rng.uniform(1, 5)):
            thick = rng.uniform(0.08, 0.22)
            scale = (thick, thick, rng.uniform(3.5, 9))
            self.builder.add_scenery(scenery.pole(), s, side * kerb, scale=scale, footprint=(thick, thick))
        for s in self.spots(rng.uniform(0, 4)):
            heading = 0.0 if side < 0 else np.pi
            mesh = scenery.sign(int(rng.integers(8)))
            self.builder.add_scenery(mesh, s, side * kerb, heading=heading, footprint=(0.12, 0.7))
        for s in self.spots(rng.uniform(0, 3)):
            size = (rng.uniform(0.4, 1.6), rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.5))
            mesh = scenery.street_box(int(rng.integers(9)))
            self.builder.add_scenery(mesh, s, side * (outer - 0.2), scale=size, footprint=size[:2])

    def _add_tree(self, s: float, d: float) -> None:
        grown, heading = self.rng.uniform(0.7, 1.3), self.rng.uniform(0, 6)
        mesh = scenery.tree(int(self.rng.integers(VARIANTS)))
        self.builder.add_scenery(mesh, s, d, heading=heading, scale=(grown, grown, grown), footprint=(0.5, 0.5))

    def line_boundary(self, side: int) -> None:
        """Stretches of hedges, walls, fences, houses, bushes, rails or yards behind the pavement."""
        rng = self.rng
        s, kind = self.start, pick(self.style.boundary, rng)
        while s < VIEW_M:
            length = rng.uniform(5, 22)
            if rng.random() < 0.35:
                kind = pick(self.style.boundary, rng)
            if self.street.in_crossing(np.linspace(s, s + length, 8), margin=1.0).max() == 0:
                self._add_stretch(kind, s, length, side)
            s += length + rng.exponential(1.0)

    def _add_stretch(self, kind: str, s: float, length: float, side: int) -> None:
        """One stretch of boundary; "open" adds nothing."""
        rng, add = self.rng, self.builder.add_scenery
        middle, face, d = s + length / 2, 0.0 if side > 0 else np.pi, self.side(side).boundary_at + 0.6
        if kind == "hedge":
            size = (length, rng.uniform(0.7, 1.6), rng.uniform(1.0, 3.0))
            mesh = scenery.hedge(int(rng.integers(VARIANTS)))
            add(mesh, middle, side * (d + size[1] / 2), heading=face, scale=size, footprint=size[:2])
        elif kind == "wall":
            material = Material.STONE if rng.random() < 0.5 else Material.PLASTER
            size = (length, 0.3, rng.uniform(0.7, 2.6))
            add(scenery.wall(material), middle, side * d, scale=size, footprint=size[:2])
        elif kind == "fence":
            height = rng.uniform(0.9, 1.5)
            for piece in np.arange(s, s + length - 2.5, 2.6):
                add(scenery.picket_fence(9), piece + 1.3, side * d, scale=(2.5, 1, height), footprint=(2.5, 0.1))
        elif kind == "facade":
            size = (length, rng.uniform(8, 12), 1.0)
            mesh = scenery.house(int(rng.integers(VARIANTS)))
            add(mesh, middle, side * (d + size[1] / 2), heading=face, scale=size, footprint=size[:2])
        elif kind == "rail":
            for piece in np.arange(s, s + length, 4.0):
                add(scenery.guard_rail(), piece + 2, side * (d - 1), heading=face, scale=(4, 1, 1), footprint=(4, 0.15))
        elif kind == "yard":
            self._park_in_yard(s, length, side)
        elif kind == "bushes":
            for at in np.arange(s, s + length, 1.8):
                wide, further, height = rng.uniform((1.2, 0, 1.0), (3.5, 1.5, 4.0)).tolist()
                self._add_bush(float(at), side * (d + wide / 2 + further), (wide, wide, height))

    def _park_in_yard(self, s: float, length: float, side: int) -> None:
        """Rows of parked vehicles in a yard behind the pavement, across or along the street."""
        rng, d = self.rng, self.side(side).boundary_at
        across = rng.random() < 0.5
        slot, depth = (2.7, 5.5) if across else (5.6, 3.0)
        for row in range(rng.integers(1, 3)):
            for at in np.arange(s + slot / 2, s + length - slot / 2, slot):
                if rng.random() < self.occupancy:
                    turn = np.pi / 2 if across else np.pi * (side > 0)
                    heading = turn + np.pi * (rng.random() < 0.3) + rng.normal(0, 0.06)
                    self.add(pick(PARKED, rng), at, side * (d + 1.0 + (row + 0.5) * depth), heading, gap_m=0.15)

    def _add_bush(self, s: float, d: float, size: tuple[float, float, float]) -> None:
        mesh = scenery.bush(int(self.rng.integers(VARIANTS)))
        footprint = (0.6 * size[0], 0.6 * size[1])
        self.builder.add_scenery(mesh, s, d, heading=self.rng.uniform(0, 6), scale=size, footprint=footprint)

    def close_view(self, side: int) -> None:
        """Houses and woods behind the boundary."""
        rng, edge = self.rng, self.side(side)
        back = edge.boundary_at + rng.uniform(0.5, 5)
        kind = pick(self.style.backdrop, rng)
        s = self.start + rng.uniform(0, 12)
        while s < VIEW_M:
            if rng.random() < 0.3:
                kind = pick(self.style.backdrop, rng)
            if kind == "houses":
                size = (rng.uniform(9, 16), rng.uniform(8, 12), 1.0)
                mesh, d = scenery.house(int(rng.integers(VARIANTS))), side * (back + rng.uniform(0, 2) + size[1] / 2)
                face = 0.0 if side > 0 else np.pi
                if self.street.in_crossing(s + size[0] / 2, margin=size[0] / 2) == 0:
                    self.builder.add_scenery(mesh, s + size[0] / 2, d, heading=face, scale=size, footprint=size[:2])
                s += size[0] + rng.uniform(2, 11)
            else:
                for wide, further, ahead, height in rng.uniform((3, 0, 0, 2), (7, 9, 6, 6), (2, 4)).tolist():
                    self._add_bush(s + ahead, side * (back + further), (wide, wide, height))
                self._add_tree(s + 3, side * (back + rng.uniform(0, 15)))
                s += 6.0


def add_object(
    builder: SceneBuilder, name: str, s: float, d: float, *, heading: float, gap_m: float, rng: np.random.Generator
) -> bool:
    """Draw size, body and paint of an object, and put it on the street if there is room.

    Args:
        builder: The scene to which the object is added.
        name: KITTI class.
        s: Position along the street, metres.
        d: Position across the street, metres.
        heading: Yaw relative to the direction of the street, radians.
        gap_m: Free space required on all sides.
        rng: The source of randomness.

    Returns:
        Whether it was added.
    """
    size = draw_size(name, rng)
    low, high = PERSON_INSET_M if name in PERSONS else VEHICLE_INSET_M
    return builder.add_object(
        name,
        _body(name, size, rng),
        size,
        s,
        d,
        heading=heading,
        paint=_paint(name, rng),
        gap_m=gap_m,
        inset_m=rng.uniform(low, high, 5),
        lift_m=float(np.clip(rng.normal(LIFT_M, LIFT_STD_M), -0.1, 0.1)),
    )


def _body(name: str, size: Float[np.ndarray, " 3"], rng: np.random.Generator) -> Mesh:
    """A body of the class that fits the size."""
    variant = int(rng.integers(VARIANTS))
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
        return pick((("minivan", 0.5), ("suv", 0.3), ("hatchback", 0.2)), rng)
    if length < 3.75:
        return pick((("hatchback", 0.9), ("sedan", 0.1)), rng)
    return pick((("hatchback", 0.35), ("sedan", 0.38), ("estate", 0.27)), rng)


def _paint(name: str, rng: np.random.Generator) -> Paint:
    if name in PERSONS:
        red, green, blue = rng.uniform(0.05, 0.7, 3)
        return Paint((red, green, blue), rng.uniform(0.1, 0.45))
    paint = pick(PAINTS, rng)
    # Large vehicles are mostly light-coloured.
    return paint if name == "Car" else Paint(paint.colour, paint.albedo + 0.1)
