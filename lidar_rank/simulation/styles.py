"""Styles of neighbourhoods, and streets drawn from them."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeVar

import numpy as np

from lidar_rank.simulation.street import Side, Street

Option = TypeVar("Option")
Range = tuple[float, float]
Choice = tuple[tuple[str, float], ...]
PARKING_DEPTH_M: Final = {"none": 0.0, "parallel": 2.1, "diagonal": 4.6, "square": 5.0}


@dataclass(frozen=True)
class Style:
    """A style of neighbourhood. A range is the interval of a uniform draw; a choice lists options with their weights.

    Attributes:
        share: Share of the scenes that have this style.
        road: Half width of the lanes, metres.
        parking: How vehicles are parked on a side.
        occupancy: Share of the parking slots that are taken.
        pavement: Width of the pavement, metres.
        verge: Width of the grass behind the pavement, metres.
        boundary: What stands behind the verge.
        backdrop: What stands further back.
        traffic: Mean number of vehicles per lane and 100 m.
        trees: Number of trees per side and 100 m.
        pedestrians: Mean number per scene.
        cyclists: Mean number per scene.
        crossing: Share of the streets with a crossing.
        kerb: Mean height of the kerb, metres.
        bank: Standard deviation of the slope of the land beyond the boundary.
        curvature: Standard deviation of the curvature, 1/m.
    """

    share: float
    road: Range
    parking: Choice
    occupancy: Range
    pavement: Range
    verge: Range
    boundary: Choice
    backdrop: Choice
    traffic: float
    trees: Range
    pedestrians: float
    cyclists: float
    crossing: float
    kerb: float
    bank: float
    curvature: float


STYLES: Final = {
    "lane": Style(
        share=0.24,
        road=(1.8, 2.8),
        parking=(("parallel", 0.42), ("none", 0.58)),
        occupancy=(0.0, 0.85),
        pavement=(0.0, 1.2),
        verge=(0.0, 0.6),
        boundary=(("hedge", 0.3), ("wall", 0.22), ("bushes", 0.28), ("facade", 0.15), ("yard", 0.08)),
        backdrop=(("houses", 0.6), ("woods", 0.4)),
        traffic=0.7,
        trees=(0, 5),
        pedestrians=0.6,
        cyclists=0.3,
        crossing=0.25,
        kerb=0.06,
        bank=0.06,
        curvature=0.003,
    ),
    "residential": Style(
        share=0.25,
        road=(2.4, 3.4),
        parking=(("parallel", 0.57), ("none", 0.33), ("square", 0.10)),
        occupancy=(0.0, 0.85),
        pavement=(0.8, 2.2),
        verge=(0.0, 1.2),
        boundary=(("hedge", 0.32), ("wall", 0.16), ("fence", 0.12), ("bushes", 0.25), ("open", 0.05), ("yard", 0.12)),
        backdrop=(("houses", 0.75), ("woods", 0.25)),
        traffic=0.6,
        trees=(1, 8),
        pedestrians=0.7,
        cyclists=0.3,
        crossing=0.35,
        kerb=0.10,
        bank=0.03,
        curvature=0.002,
    ),
    "city": Style(
        share=0.18,
        road=(3.2, 6.8),
        parking=(("parallel", 0.40), ("diagonal", 0.11), ("square", 0.12), ("none", 0.37)),
        occupancy=(0.0, 0.85),
        pavement=(2.0, 4.5),
        verge=(0.0, 1.0),
        boundary=(("facade", 0.6), ("wall", 0.1), ("bushes", 0.15), ("open", 0.03), ("yard", 0.14)),
        backdrop=(("houses", 0.9), ("woods", 0.1)),
        traffic=1.0,
        trees=(0, 8),
        pedestrians=2.1,
        cyclists=0.65,
        crossing=0.5,
        kerb=0.10,
        bank=0.02,
        curvature=0.0015,
    ),
    "arterial": Style(
        share=0.17,
        road=(4.6, 8.0),
        parking=(("none", 0.8), ("parallel", 0.2)),
        occupancy=(0.05, 0.6),
        pavement=(0.0, 3.0),
        verge=(0.5, 4.5),
        boundary=(("bushes", 0.45), ("hedge", 0.15), ("open", 0.15), ("yard", 0.12), ("wall", 0.15)),
        backdrop=(("houses", 0.4), ("woods", 0.6)),
        traffic=1.0,
        trees=(1, 10),
        pedestrians=0.2,
        cyclists=0.22,
        crossing=0.4,
        kerb=0.10,
        bank=0.04,
        curvature=0.003,
    ),
    "country": Style(
        share=0.16,
        road=(3.4, 5.5),
        parking=(("none", 1.0),),
        occupancy=(0.0, 0.6),
        pavement=(0.0, 0.0),
        verge=(1.0, 5.0),
        boundary=(("rail", 0.3), ("bushes", 0.45), ("open", 0.22), ("yard", 0.03)),
        backdrop=(("woods", 1.0),),
        traffic=1.0,
        trees=(1, 12),
        pedestrians=0.02,
        cyclists=0.08,
        crossing=0.1,
        kerb=0.02,
        bank=0.15,
        curvature=0.005,
    ),
}


def pick(options: Sequence[tuple[Option, float]], rng: np.random.Generator) -> Option:
    """Draw one option by weight."""
    below = list(accumulate(weight for _, weight in options))
    return options[bisect(below, rng.random() * below[-1], hi=len(below) - 1)][0]


def draw_street(style: Style, rng: np.random.Generator) -> tuple[Street, tuple[str, str]]:
    """Draw a street of a style, and the way in which vehicles are parked on its left and right side."""
    road = rng.uniform(*style.road)
    parking = pick(style.parking, rng), pick(style.parking, rng)
    left, right = (
        Side(
            road=road,
            parking=PARKING_DEPTH_M[kind],
            pavement=rng.uniform(*style.pavement),
            verge=rng.uniform(*style.verge) * (rng.random() < 0.7) + 0.05,
            kerb=style.kerb * rng.uniform(0.6, 1.4),
            bank=rng.normal(0.01, style.bank),
        )
        for kind in parking
    )
    crossing_at = rng.uniform(4, 55)
    crossing = (crossing_at, crossing_at + rng.uniform(6, 14))
    street = Street(
        left=left,
        right=right,
        curvature_per_m=rng.normal(0, 2 * style.curvature) * rng.random(),
        ego_d=-rng.uniform(0.2, 0.8) * road if road > 5 else -rng.uniform(0.25, 0.6) * road,
        ego_yaw_rad=rng.normal(0, 0.015),
        pitch=rng.normal(0.0095, 0.007),
        roll=rng.normal(0.001, 0.011),
        bend=rng.normal(0, 0.00012),
        crossings=(crossing,) if rng.random() < style.crossing else (),
        waves=np.stack(
            [rng.normal(0, 0.02, 4), rng.uniform(0.05, 0.5, 4), rng.uniform(-0.4, 0.4, 4), rng.uniform(0, 6.28, 4)], 1
        ),
    )
    return street, parking
