"""The diagnosis of one trained detector, and the page that compares several."""

import base64
import html
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lidar_rank.analysis.distributions import Distributions
from lidar_rank.analysis.plots import plot_gradient_norms, plot_score_against_iou, plot_scores
from lidar_rank.analysis.reverse_pairs import PairCount, ReversePairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Heading, what to look for, and figure of each section of the page.
_FIGURES = (
    ("Scores", "Objects should be on the right and background on the left.", plot_scores),
    ("Score against overlap", "A detector that ranks by quality fills the diagonal.", plot_score_against_iou),
    (
        "Gradient norms",
        "The peak on the left is the easy background, to which GHM gives less weight.",
        plot_gradient_norms,
    ),
)
_PAIRS = {
    "foreground_background": "F-B reversed %",
    "positive_negative": "P-N reversed %",
    "positive_positive": "P-P reversed %",
}
_COCO = {"coco/bbox_mAP": "AP", "coco/bbox_mAP_50": "AP50", "coco/bbox_mAP_75": "AP75"}
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
    "td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child"
    "{text-align:left}img{max-width:100%}"
)


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Results of a detector on a test set."""

    metrics: dict[str, float]
    """Every metric of the test by its name, as the host gives it (KITTI's AP in percent, COCO's as a share)."""
    pairs: ReversePairs
    distributions: Distributions

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers for a file, which :meth:`from_json` reads."""
        counts = {name: value.tolist() for name, value in vars(self.distributions).items()}
        return {"metrics": self.metrics, "pairs": asdict(self.pairs), "distributions": counts}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Diagnosis":
        """Read the record that :meth:`to_json` returned.

        Raises:
            ValueError: a part is missing, or is not what ``to_json`` gives.
        """
        try:
            metrics = {str(name): float(value) for name, value in record["metrics"].items()}
            pairs = {name: PairCount(float(p["reversed"]), int(p["total"])) for name, p in record["pairs"].items()}
            counts = {name: np.array(value, np.int64) for name, value in record["distributions"].items()}
            return cls(metrics, ReversePairs(**pairs), Distributions(**counts))
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError(f"not what 'lidar-rank analyze' wrote: {type(error).__name__}: {error}") from error


def read_diagnosis(path: Path) -> Diagnosis:
    """Read a file that ``lidar-rank analyze`` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or is another file; the message names it.
    """
    content = path.read_bytes()
    try:
        return Diagnosis.from_json(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def format_runs(runs: Mapping[str, Diagnosis]) -> str:
    """Return a table of the runs: AP (KITTI's for moderate difficulty, and COCO's) and the shares of reversed pairs."""
    rows = _rows(runs)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line) for line in lines)


def render_report(runs: Mapping[str, Diagnosis]) -> str:
    """Return one HTML page that embeds its pictures: the table of :func:`format_runs`, then every figure with all runs.

    Args:
        runs: Diagnoses by the name that the page shows.

    Raises:
        ValueError: there is no run, or runs have different bins.
    """
    figures = [
        f"<h2>{title}</h2><p>{hint}</p><img alt='{title}' src='data:image/png;base64,{_png(plot, runs)}'>"
        for title, hint, plot in _FIGURES
    ]
    header, *rows = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th"] + ["td"] * len(runs), _rows(runs), strict=True)
    )
    table = "".join(f"<tr>{row}</tr>" for row in (header, *rows))
    legend = (
        "<p>AP is in percent, KITTI's for moderate difficulty (R40). A reversed pair is two candidates of a scan or"
        " image that the detector ranks in the wrong order. F-B: an object scores below background. P-N: an object"
        " scores below background or an object of another class, both by the score of the first object's class. P-P:"
        " the worse of two boxes scores above the better one. A tie counts half.</p>"
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>lidar_rank report</title>"
        f"<style>{_STYLE}</style></head><body><h1>{len(runs)} detectors</h1><table>{table}</table>{legend}"
        f"{''.join(figures)}</body></html>\n"
    )


def _rows(runs: Mapping[str, Diagnosis]) -> list[list[str]]:
    """Header, then one row per run. A dash stands for a metric that a run does not have."""
    metrics = {name: _headline(run.metrics) for name, run in runs.items()}
    columns = sorted({column for own in metrics.values() for column in own})
    rows = [["run", *columns, *_PAIRS.values()]]
    for name, run in runs.items():
        shares = [100 * getattr(run.pairs, pair).ratio for pair in _PAIRS]
        values = [f"{metrics[name][column]:.2f}" if column in metrics[name] else "-" for column in columns]
        rows.append([name, *values, *(f"{share:.3f}" for share in shares)])
    return rows


def _headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that the table shows, in percent, by column."""
    shown = {}
    for name, value in metrics.items():
        if name.endswith(("/3d/R40/moderate", "/bev/R40/moderate")):
            shown[name.removeprefix("kitti/").removesuffix("/R40/moderate")] = value
        elif name in _COCO:
            shown[_COCO[name]] = 100 * value
    return shown


def _png(plot: Any, runs: Mapping[str, Diagnosis]) -> str:
    figure: Figure = plot({name: run.distributions for name, run in runs.items()})
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return base64.b64encode(picture.getvalue()).decode()
