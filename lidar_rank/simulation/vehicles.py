"""Bodies of cars, vans, trucks and trams in the unit box: x and y in [-0.5, 0.5], z in [0, 1]; x points forward."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from lidar_rank.simulation.materials import Material
from lidar_rank.simulation.mesh import Mesh, box, grid, join

Profile = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class BodyStyle:
    """Outline of a body as shares of its length, width and height.

    Attributes:
        top: (x, z) of the outline seen from the side, from rear to front.
        glass: x of the rear and front end of the side windows.
        windshield: x of the upper and lower edge of the windshield.
        rear_window: x of the lower and upper edge of the rear window.
        belt: z of the lower edge of the windows.
        roof: Half width of the roof.
        wheels: x of the rear and the front axle.
        wheel_radius: Radius of the wheels, as a share of the height.
        sill: z of the underside between the wheels.
    """

    top: Profile
    glass: tuple[float, float]
    windshield: tuple[float, float]
    rear_window: tuple[float, float]
    belt: float = 0.62
    roof: float = 0.35
    wheels: tuple[float, float] = (-0.32, 0.325)
    wheel_radius: float = 0.205
    sill: float = 0.16


_NOSE: Profile = ((0.30, 0.635), (0.37, 0.595), (0.42, 0.545), (0.45, 0.48), (0.475, 0.40), (0.50, 0.31))
_TAIL: Profile = ((-0.50, 0.38), (-0.492, 0.50), (-0.472, 0.62))

STYLES: dict[str, BodyStyle] = {
    "hatchback": BodyStyle(
        top=(
            *_TAIL,
            (-0.465, 0.70),
            (-0.41, 0.92),
            (-0.36, 0.975),
            (-0.15, 1.0),
            (0.02, 0.975),
            (0.08, 0.92),
            (0.235, 0.68),
            *_NOSE,
        ),
        glass=(-0.39, 0.19),
        windshield=(0.08, 0.235),
        rear_window=(-0.465, -0.41),
    ),
    "sedan": BodyStyle(
        top=(
            *_TAIL,
            (-0.44, 0.675),
            (-0.33, 0.70),
            (-0.20, 0.93),
            (-0.14, 0.985),
            (-0.04, 1.0),
            (0.05, 0.96),
            (0.10, 0.90),
            (0.235, 0.68),
            *_NOSE,
        ),
        glass=(-0.27, 0.19),
        windshield=(0.10, 0.235),
        rear_window=(-0.33, -0.20),
    ),
    "estate": BodyStyle(
        top=(
            *_TAIL,
            (-0.465, 0.72),
            (-0.425, 0.93),
            (-0.38, 0.975),
            (-0.10, 1.0),
            (0.04, 0.97),
            (0.09, 0.915),
            (0.23, 0.68),
            *_NOSE,
        ),
        glass=(-0.42, 0.185),
        windshield=(0.09, 0.23),
        rear_window=(-0.465, -0.425),
    ),
    "minivan": BodyStyle(
        top=(
            *_TAIL,
            (-0.47, 0.70),
            (-0.435, 0.93),
            (-0.39, 0.98),
            (-0.10, 1.0),
            (0.06, 0.97),
            (0.13, 0.90),
            (0.33, 0.645),
            (0.42, 0.57),
            (0.47, 0.50),
            (0.495, 0.40),
            (0.50, 0.33),
        ),
        glass=(-0.42, 0.26),
        windshield=(0.13, 0.33),
        rear_window=(-0.47, -0.435),
    ),
    "suv": BodyStyle(
        top=(
            *_TAIL,
            (-0.47, 0.72),
            (-0.43, 0.94),
            (-0.38, 0.985),
            (-0.12, 1.0),
            (0.02, 0.98),
            (0.08, 0.925),
            (0.22, 0.695),
            (0.32, 0.67),
            (0.42, 0.62),
            (0.475, 0.54),
            (0.495, 0.44),
            (0.50, 0.35),
        ),
        glass=(-0.41, 0.17),
        windshield=(0.08, 0.22),
        rear_window=(-0.47, -0.43),
        belt=0.64,
        roof=0.37,
        wheel_radius=0.21,
        sill=0.19,
    ),
    "van": BodyStyle(
        top=(
            (-0.50, 0.35),
            (-0.497, 0.60),
            (-0.485, 0.93),
            (-0.46, 0.985),
            (-0.10, 1.0),
            (0.18, 0.985),
            (0.24, 0.93),
            (0.38, 0.60),
            (0.44, 0.53),
            (0.48, 0.45),
            (0.495, 0.36),
            (0.50, 0.27),
        ),
        glass=(0.02, 0.31),
        windshield=(0.24, 0.38),
        rear_window=(-0.497, -0.485),
        belt=0.56,
        roof=0.43,
        wheel_radius=0.16,
        sill=0.13,
    ),
}


def _warped(style: BodyStyle, rng: np.random.Generator) -> BodyStyle:
    """A variant of a style: cabin, hood and tail a little longer or shorter, belt and hood a little higher or lower."""
    front, rear, belt, nose = rng.normal(0, [0.022, 0.014, 0.02, 0.02])

    def along(x: float) -> float:
        return x + front * float(np.exp(-(((x - 0.2) / 0.14) ** 2))) + rear * float(np.exp(-(((x + 0.32) / 0.12) ** 2)))

    def up(x: float, z: float) -> float:
        return (
            z + nose * float(np.clip((0.5 - abs(x - 0.38) / 0.4), 0, 0.5)) * 2 + belt * max(0, 1 - abs(z - 0.62) / 0.3)
        )

    def both(pair: tuple[float, float]) -> tuple[float, float]:
        return along(pair[0]), along(pair[1])

    return replace(
        style,
        top=tuple((along(x), min(up(x, z), 1.0)) for x, z in style.top),
        glass=both(style.glass),
        windshield=both(style.windshield),
        rear_window=both(style.rear_window),
        belt=style.belt + belt,
        roof=style.roof + rng.normal(0, 0.015),
        sill=style.sill * rng.uniform(0.7, 1.1),
    )


def _pillars(style: BodyStyle) -> Float[np.ndarray, " edge"]:
    """Edges (x) of the pillars in the side windows, in pairs. Between the two edges of a pair is paint."""
    rear, front = style.glass
    middle = rear + 0.52 * (front - rear)
    return np.array([rear + 0.10 * (front - rear), rear + 0.14 * (front - rear), middle - 0.012, middle + 0.012])


def _body(style: BodyStyle, rng: np.random.Generator) -> Mesh:
    """The closed outer skin: cross-sections with nine corners per side, lofted from rear to front."""
    pillars = _pillars(style)
    top_x, top_z = (np.array(c) for c in zip(*style.top, strict=True))
    x = np.unique(np.concatenate([top_x, pillars, style.glass, style.rear_window, style.windshield, [-0.45, 0.43]]))
    top = np.interp(x, top_x, top_z)
    low = style.sill
    bottom = np.interp(
        x, [-0.5, -0.485, -0.44, -0.36, 0.38, 0.45, 0.485, 0.5], [0.27, 0.17, 0.13, low, low, 0.12, 0.16, 0.24]
    )
    blunt = rng.uniform(-0.08, 0.04)
    plan = np.interp(
        x,
        [-0.5, -0.49, -0.46, -0.38, -0.2, 0.25, 0.39, 0.45, 0.48, 0.5],
        [0.58, 0.76, 0.88, 0.955, 1, 1, 0.935, 0.85 + blunt / 2, 0.70 + blunt, 0.45 + blunt],
    )
    belt = np.minimum(style.belt, top - 0.05)
    cabin = np.clip((top - style.belt) / (1 - style.belt), 0, 1)
    edge = 0.43 - (0.43 - style.roof) * cabin
    round_ = 0.085 * cabin + 0.015
    lift = bottom[:, None] + (belt - bottom)[:, None] * np.array([0.0, 0.0, 0.12, 0.42, 0.72, 1.0])
    z = np.concatenate([lift, (top - round_)[:, None], (top - 0.2 * round_)[:, None], top[:, None]], 1)
    y = np.concatenate(
        [np.broadcast_to([0.0, 0.39, 0.435, 0.48, 0.5, 0.45], (len(x), 6)), np.outer(edge, [1, 0.75, 0])], 1
    )
    half = np.stack([np.broadcast_to(x[:, None], y.shape), y * plan[:, None], z], -1)
    section = np.concatenate([half, (half[:, ::-1] * np.array([1, -1, 1]))[:, 1:]], 1)
    ends = [section[i, None].mean(1, keepdims=True).repeat(section.shape[1], 1) for i in (0, -1)]
    section = np.concatenate([ends[0], section, ends[1]])
    return grid(section, _skin(style, np.concatenate([x[:1], x, x[-1:]]), pillars))


def _skin(style: BodyStyle, x: Float[np.ndarray, " station"], pillars: Float[np.ndarray, " edge"]) -> np.ndarray:
    """Material of each cell of the skin: paint, dark trim at the bottom, glass in the windows."""
    cells = np.full((len(x) - 1, 16), Material.PAINT, np.uint8)
    middle = 0.5 * (x[1:] + x[:-1])
    cells[:, [0, 15]] = Material.TRIM
    # Grille and intakes of the nose.
    cells[np.ix_(middle > 0.47, [1, 2, 13, 14])] = Material.TRIM
    between = np.searchsorted(pillars, middle) % 2 == 1
    window = (middle > style.glass[0]) & (middle < style.glass[1]) & ~between
    cells[np.ix_(window, [5, 10])] = Material.GLASS
    for low, high in (style.windshield, style.rear_window):
        cells[np.ix_((middle > low) & (middle < high), [6, 7, 8, 9])] = Material.GLASS
    return cells


def _wheel(x: float, side: int, radius: tuple[float, float]) -> Mesh:
    """A wheel flush with the side of the body. Its two radii make it round when the body is scaled."""
    angle = np.linspace(0, 2 * np.pi, 9)
    rim = np.stack([x + radius[0] * np.cos(angle), 0 * angle, radius[1] * (1 + np.sin(angle))], 1)
    centre = np.array([[x, 0, radius[1]]]).repeat(9, 0)
    rings = [(centre, 0.47), (centre + 0.6 * (rim - centre), 0.475), (rim, 0.485), (rim, 0.36), (centre, 0.36)]
    points = np.stack([r + np.array([0, side * y, 0]) for r, y in rings])
    material = np.array([Material.METAL, Material.RUBBER, Material.RUBBER, Material.TRIM])[:, None]
    return grid(points, np.broadcast_to(material, (4, 8)))


def _fittings(style: BodyStyle, rng: np.random.Generator) -> list[Mesh]:
    """Wheels, mirrors, lamps, number plates, seats and dashboard."""
    parts = [
        _wheel(x, side, (style.wheel_radius * 1.5 / 3.9, style.wheel_radius)) for x in style.wheels for side in (-1, 1)
    ]
    mirror_x = style.glass[1] - 0.035
    for side in (-1, 1):
        y = sorted((side * 0.47, side * 0.575))
        parts.append(
            box((mirror_x - 0.012, y[0], style.belt), (mirror_x + 0.015, y[1], style.belt + 0.08), Material.PAINT)
        )
        y = sorted((side * 0.24, side * 0.40))
        parts.append(box((0.40, y[0], 0.40), (0.462, y[1], 0.475), Material.REFLECTOR))
        parts.append(box((-0.502, y[0], 0.48), (-0.47, y[1], 0.585), Material.LAMP))
        for seat in rng.uniform([0.0, -0.31], [0.07, -0.23]):
            back = np.array(
                [[[seat + 0.03, side * y, 0.3], [seat - 0.03, side * y, rng.uniform(0.66, 0.82)]] for y in (0.08, 0.3)]
            )
            parts.append(grid(back, Material.CABIN))
    parts.append(box((-0.503, -0.15, 0.36), (-0.49, 0.15, 0.435), Material.REFLECTOR))
    parts.append(box((0.49, -0.15, 0.24), (0.502, 0.15, 0.315), Material.REFLECTOR))
    parts.append(
        box((style.windshield[1] - 0.03, -0.42, 0.3), (style.windshield[1] - 0.02, 0.42, 0.58), Material.CABIN)
    )
    return parts


@lru_cache(maxsize=256)
def car_body(style: str, variant: int) -> Mesh:
    """A car or van of a style; variants differ a little in outline.

    Raises:
        KeyError: the style is not in :data:`STYLES`.
    """
    rng = np.random.default_rng([variant, sum(map(ord, style))])
    outline = _warped(STYLES[style], rng)
    return join([_body(outline, rng), *_fittings(outline, rng)])


@lru_cache(maxsize=32)
def truck_body(variant: int) -> Mesh:
    """A truck with a cab, a cargo box or a flat bed, and three axles."""
    rng = np.random.default_rng([variant, 7])
    cab_length, cargo_top = rng.uniform(0.2, 0.3), rng.choice([1.0, 1.0, 0.6])
    cab_top = 0.85 if cargo_top == 1.0 else 1.0
    front = 0.5 - cab_length
    parts = [
        box((-0.5, -0.5, 0.3), (front - 0.02, 0.5, cargo_top), Material.PAINT),
        box((-0.48, -0.42, 0.2), (0.48, 0.42, 0.3), Material.TRIM),
        box((front, -0.48, 0.15), (0.497, 0.48, cab_top), Material.PAINT),
        box((0.496, -0.44, 0.5 * cab_top), (0.5, 0.44, 0.85 * cab_top), Material.GLASS),
    ]
    for side in (-1, 1):
        y = sorted((side * 0.478, side * 0.482))
        parts.append(box((front + 0.05, y[0], 0.5 * cab_top), (0.47, y[1], 0.8 * cab_top), Material.GLASS))
        for x in (-0.36, -0.24, 0.35):
            parts.append(_wheel(x, side, (0.05, 0.15)))
    return join(parts)


@lru_cache(maxsize=8)
def tram_body(variant: int) -> Mesh:
    """A tram: a long box with a band of windows and rounded ends."""
    skirt = 0.08 + 0.02 * (variant % 3)
    x = np.array([-0.5, -0.5, -0.47, 0.47, 0.5, 0.5])
    width = np.array([0.0, 0.36, 0.5, 0.5, 0.36, 0.0])
    levels = np.array([skirt, 0.35, 0.7, 0.95, 1.0])
    side = np.array([1.0, 1.0, 1.0, 0.95, 0.5])
    right = np.stack(np.broadcast_arrays(x[:, None], width[:, None] * side, levels), -1)
    loop = np.concatenate([right, right[:, ::-1] * np.array([1, -1, 1])], 1)
    cells = np.full((5, 9), Material.PAINT, np.uint8)
    cells[:, [1, 7]] = Material.GLASS
    return grid(loop, cells)


@lru_cache(maxsize=8)
def trailer_body(variant: int) -> Mesh:
    """A trailer: a box on one axle with a drawbar."""
    top = (1.0, 0.55, 0.8)[variant % 3]
    parts = [
        box((-0.5, -0.46, 0.25), (0.3, 0.46, top), Material.PAINT),
        box((0.3, -0.03, 0.22), (0.5, 0.03, 0.3), Material.METAL),
    ]
    parts.append(box((-0.5, -0.46, 0.25), (-0.45, 0.46, 1.0), Material.TRIM))
    parts += [_wheel(-0.1, side, (0.1, 0.2)) for side in (-1, 1)]
    return join(parts)


def ego_body() -> Mesh:
    """Part of the sensor's own vehicle that pulses can hit, in the LiDAR frame. Its returns are never reported."""
    hood = np.array([[[0.6, y, -0.62], [2.05, y, -0.80], [2.35, y, -1.0], [2.4, y, -1.5]] for y in (-0.9, 0.9)])
    return join([grid(hood, Material.EGO), box((-2.4, -0.9, -1.5), (0.6, 0.9, -0.35), Material.EGO)])
