"""Sizes of labelled objects, fitted to KITTI's official training split by ``tools/studies/fit_simulation.py``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float

CLASSES: Final = ("Car", "Van", "Truck", "Pedestrian", "Cyclist", "Tram", "Misc")

LEVELS: Final = (0.0, 0.02, 0.10, 0.25, 0.50, 0.75, 0.90, 0.98, 1.0)


@dataclass(frozen=True)
class SizeTable:
    """Marginal quantiles of length, width and height, with a Gaussian copula for their correlation.

    Attributes:
        quantiles_m: Quantiles at :data:`LEVELS` of length, width and height.
        correlation: Correlation of the normal scores of length and width, length and height, width and height.
    """

    quantiles_m: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    correlation: tuple[float, float, float]


SIZES: Final = {
    "Car": SizeTable(
        (
            (2.23, 3.06, 3.32, 3.60, 3.90, 4.21, 4.49, 4.72, 6.67),
            (1.14, 1.36, 1.49, 1.56, 1.63, 1.68, 1.74, 1.84, 1.99),
            (1.14, 1.34, 1.39, 1.44, 1.50, 1.59, 1.70, 1.91, 2.48),
        ),
        (0.38, 0.15, 0.22),
    ),
    "Van": SizeTable(
        (
            (3.78, 3.79, 4.12, 4.47, 4.96, 5.75, 6.58, 6.86, 6.91),
            (1.54, 1.56, 1.71, 1.80, 1.86, 2.03, 2.16, 2.46, 2.46),
            (1.71, 1.77, 1.83, 1.91, 2.10, 2.46, 2.66, 2.87, 2.91),
        ),
        (0.73, 0.77, 0.67),
    ),
    "Truck": SizeTable(
        (
            (5.87, 5.87, 6.19, 7.87, 8.02, 10.81, 10.81, 16.79, 16.79),
            (2.23, 2.23, 2.25, 2.46, 2.56, 2.89, 2.89, 2.89, 2.89),
            (2.32, 2.32, 2.66, 3.34, 3.52, 3.55, 3.57, 4.02, 4.02),
        ),
        (0.74, 0.58, 0.37),
    ),
    "Pedestrian": SizeTable(
        (
            (0.20, 0.33, 0.50, 0.61, 0.84, 1.01, 1.13, 1.23, 1.28),
            (0.30, 0.40, 0.46, 0.54, 0.63, 0.72, 0.78, 0.88, 0.94),
            (1.14, 1.53, 1.60, 1.69, 1.79, 1.87, 1.91, 1.97, 2.01),
        ),
        (0.09, 0.32, 0.15),
    ),
    "Cyclist": SizeTable(
        (
            (1.32, 1.48, 1.58, 1.70, 1.73, 1.89, 1.99, 2.12, 2.17),
            (0.34, 0.34, 0.34, 0.50, 0.57, 0.63, 0.82, 0.88, 0.89),
            (1.41, 1.55, 1.60, 1.64, 1.73, 1.81, 1.83, 1.98, 2.09),
        ),
        (0.49, 0.25, 0.13),
    ),
    "Tram": SizeTable(
        (
            (10.04, 10.04, 10.13, 12.82, 14.66, 14.86, 23.29, 23.29, 23.29),
            (2.17, 2.17, 2.17, 2.28, 2.34, 2.37, 2.57, 2.57, 2.57),
            (3.33, 3.33, 3.33, 3.46, 3.61, 3.64, 3.65, 3.66, 3.66),
        ),
        (0.19, -0.63, -0.64),
    ),
    "Misc": SizeTable(
        (
            (1.07, 1.47, 1.54, 1.80, 2.07, 2.61, 5.82, 5.82, 6.16),
            (0.40, 0.40, 0.52, 0.71, 1.30, 1.55, 2.39, 2.39, 2.39),
            (0.92, 0.93, 0.93, 1.24, 1.61, 2.02, 2.18, 2.50, 2.92),
        ),
        (0.64, -0.35, -0.05),
    ),
}


def check_classes(classes: Sequence[str]) -> None:
    """Raise ValueError if a class is not one of :data:`CLASSES`."""
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown:
        raise ValueError(f"unknown classes {', '.join(unknown)}: choose from {', '.join(CLASSES)}")


def draw_size(name: str, rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """Draw length, width and height of an object in metres, rounded to the centimetre as in labels.

    Raises:
        KeyError: the class is not in :data:`CLASSES`.
    """
    table = SIZES[name]
    scores = (_factor(table.correlation) @ rng.standard_normal(3)).tolist()
    shares = [0.5 + 0.5 * math.erf(score / math.sqrt(2)) for score in scores]
    return np.array([round(float(np.interp(u, LEVELS, q)), 2) for u, q in zip(shares, table.quantiles_m, strict=True)])


@lru_cache(maxsize=len(CLASSES))
def _factor(correlation: tuple[float, float, float]) -> Float[np.ndarray, "3 3"]:
    """Cholesky factor that turns independent normal scores into correlated ones."""
    lw, lh, wh = correlation
    return np.linalg.cholesky(np.array([[1, lw, lh], [lw, 1, wh], [lh, wh, 1]]))
