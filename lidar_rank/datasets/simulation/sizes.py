"""Sizes of labelled objects, fitted to the 7,481 label files of KITTI by ``tools/bench/fit_simulation.py``."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

CLASSES: Final = ("Car", "Van", "Truck", "Pedestrian", "Cyclist", "Tram", "Misc")

LEVELS: Final = (0.0, 0.02, 0.10, 0.25, 0.50, 0.75, 0.90, 0.98, 1.0)


@dataclass(frozen=True)
class SizeTable:
    """Marginal quantiles of length, width and height, tied by a Gaussian copula.

    Attributes:
        quantiles_m: At :data:`LEVELS`, for length, width, height.
        correlation: Between length-width, length-height, width-height, of the normal scores.
    """

    quantiles_m: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    correlation: tuple[float, float, float]


SIZES: Final = {
    "Car": SizeTable(
        (
            (2.19, 3.05, 3.35, 3.59, 3.88, 4.19, 4.43, 4.71, 6.67),
            (1.14, 1.40, 1.51, 1.57, 1.63, 1.68, 1.76, 1.85, 2.04),
            (1.14, 1.32, 1.39, 1.43, 1.50, 1.59, 1.69, 1.90, 2.48),
        ),
        (0.36, 0.14, 0.28),
    ),
    "Van": SizeTable(
        (
            (3.18, 3.72, 4.06, 4.43, 4.98, 5.75, 6.17, 6.78, 6.91),
            (1.52, 1.57, 1.67, 1.79, 1.88, 2.02, 2.12, 2.41, 2.52),
            (1.65, 1.73, 1.83, 1.94, 2.13, 2.48, 2.71, 2.86, 2.91),
        ),
        (0.68, 0.80, 0.67),
    ),
    "Truck": SizeTable(
        (
            (5.42, 5.42, 7.00, 7.87, 10.81, 12.34, 12.34, 16.44, 16.79),
            (2.06, 2.06, 2.25, 2.47, 2.63, 2.63, 2.89, 2.97, 3.01),
            (2.32, 2.32, 2.85, 2.85, 3.34, 3.52, 4.02, 4.19, 4.20),
        ),
        (0.45, 0.24, 0.36),
    ),
    "Pedestrian": SizeTable(
        (
            (0.20, 0.34, 0.50, 0.68, 0.88, 1.01, 1.11, 1.26, 1.44),
            (0.30, 0.40, 0.49, 0.55, 0.65, 0.75, 0.87, 0.96, 1.20),
            (1.14, 1.53, 1.61, 1.69, 1.77, 1.84, 1.89, 1.96, 2.01),
        ),
        (0.19, 0.28, 0.13),
    ),
    "Cyclist": SizeTable(
        (
            (1.19, 1.26, 1.56, 1.69, 1.76, 1.89, 2.00, 2.07, 2.17),
            (0.34, 0.34, 0.44, 0.53, 0.60, 0.66, 0.78, 0.88, 0.93),
            (1.41, 1.55, 1.60, 1.68, 1.75, 1.81, 1.85, 1.90, 2.09),
        ),
        (0.33, 0.39, 0.11),
    ),
    "Tram": SizeTable(
        (
            (3.14, 3.14, 10.04, 12.71, 14.66, 18.10, 23.29, 35.24, 35.24),
            (2.05, 2.17, 2.28, 2.34, 2.60, 2.74, 2.80, 2.81, 2.81),
            (2.99, 3.17, 3.25, 3.33, 3.61, 3.65, 3.68, 3.84, 3.84),
        ),
        (-0.14, -0.44, 0.26),
    ),
    "Misc": SizeTable(
        (
            (0.77, 1.03, 1.65, 1.95, 2.52, 3.84, 5.82, 12.60, 12.60),
            (0.40, 0.43, 0.53, 0.85, 1.51, 2.13, 2.39, 2.68, 2.68),
            (0.76, 0.91, 1.00, 1.24, 1.65, 2.43, 2.87, 3.91, 3.91),
        ),
        (0.83, 0.52, 0.52),
    ),
}


def draw_size(name: str, rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """Draw length, width and height of a class, metres, rounded to the centimetre as labels are.

    Raises:
        KeyError: the class is not in :data:`CLASSES`.
    """
    table = SIZES[name]
    lw, lh, wh = table.correlation
    factor = np.linalg.cholesky(np.array([[1, lw, lh], [lw, 1, wh], [lh, wh, 1]]))
    score = factor @ rng.standard_normal(3)
    # Logistic approximation of the normal distribution function, within 0.01.
    share = 1 / (1 + np.exp(-1.702 * score))
    return np.array([round(float(np.interp(u, LEVELS, q)), 2) for u, q in zip(share, table.quantiles_m, strict=True)])
