"""Figures that compare detectors, one run each. matplotlib is imported when a figure is drawn."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lidar_rank.analysis.distributions import Distributions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_scores(runs: Mapping[str, Distributions]) -> "Figure":
    """Plot scores of positives (left) and of background (right), as shares on a logarithmic axis, one line per run.

    Args:
        runs: Distributions by the name that the legend shows.

    Returns:
        A figure without a window. Save it with ``figure.savefig(path)``.

    Raises:
        ValueError: there is no run.
    """
    figure, (left, right) = _figure(runs, 2)
    for name, run in runs.items():
        _stairs(left, run.foreground_score, run.edges, name)
        _stairs(right, run.background_score, run.edges, name)
    _label(left, "score of a positive", "share of positives")
    _label(right, "best score of a background candidate", "share of background")
    return figure


def plot_gradient_norms(runs: Mapping[str, Distributions]) -> "Figure":
    """Plot the share of entries by the norm of their cross-entropy gradient, as in GHM's paper, one line per run.

    Arguments, result and errors are those of :func:`plot_scores`.
    """
    figure, (axes,) = _figure(runs, 1)
    for name, run in runs.items():
        _stairs(axes, run.gradient_norm, run.edges, name)
    _label(axes, "gradient norm", "share of (candidate, class) entries")
    return figure


def plot_score_against_iou(runs: Mapping[str, Distributions]) -> "Figure":
    """Plot positives by score and overlap, one panel per run. A detector that ranks by quality fills the diagonal.

    Arguments, result and errors are those of :func:`plot_scores`.
    """
    figure, panels = _figure(runs, len(runs))
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        axes.pcolormesh(run.edges, run.edges, np.log1p(run.score_and_iou), cmap="Blues", vmin=0)
        axes.set(title=name, xlabel="overlap with the object", ylabel="score of its class", aspect="equal")
    return figure


def _figure(runs: Mapping[str, Distributions], panels: int) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    if not runs:
        raise ValueError("runs is empty: give at least one run to plot")
    figure = Figure(figsize=(5.0 * panels, 3.6), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _stairs(axes: "Axes", counts: np.ndarray, edges: np.ndarray, name: str) -> None:
    axes.stairs(counts / max(counts.sum(), 1), edges, label=name)


def _label(axes: "Axes", x: str, y: str) -> None:
    # Fixed limits, so that figures can be compared and a run without candidates can be drawn.
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(1e-7, 1))
    axes.set_yscale("log", nonpositive="clip")
    axes.legend()
