"""The diagnosis of one trained detector, and the table that compares several."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lidar_rank.analysis.distributions import Distributions
from lidar_rank.analysis.reverse_pairs import PairCount, ReversePairs

_PAIRS = {
    "foreground_background": "F-B reversed %",
    "positive_negative": "P-N reversed %",
    "positive_positive": "P-P reversed %",
}
_CORRELATION = "score-IoU correlation %"
_COCO = {"coco/bbox_mAP": "AP", "coco/bbox_mAP_50": "AP50", "coco/bbox_mAP_75": "AP75"}


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Results of a detector on a test set."""

    metrics: dict[str, float]
    """Every metric of the test by its name, as the host gives it (KITTI's AP in percent, COCO's as a share)."""
    pairs: ReversePairs
    distributions: Distributions
    score_iou_correlation: float
    """:func:`lidar_rank.analysis.score_iou_correlation` over the test set."""

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers for a file, which :meth:`from_json` reads."""
        counts = {name: value.tolist() for name, value in vars(self.distributions).items()}
        return {
            "metrics": self.metrics,
            "pairs": asdict(self.pairs),
            "distributions": counts,
            "score_iou_correlation": self.score_iou_correlation,
        }

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
            correlation = float(record.get("score_iou_correlation", "nan"))  # older files have none
            return cls(metrics, ReversePairs(**pairs), Distributions(**counts), correlation)
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError(f"not what 'lidar-rank analyze' wrote: {type(error).__name__}: {error}") from error


def format_runs(runs: Mapping[str, Diagnosis]) -> str:
    """Return a table of the runs: AP (KITTI's for moderate difficulty, and COCO's) and how the scores rank."""
    rows = _rows(runs)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line) for line in lines)


def _rows(runs: Mapping[str, Diagnosis]) -> list[list[str]]:
    """Header, then one row per run. A dash stands for a metric that a run does not have."""
    metrics = {name: _headline(run.metrics) for name, run in runs.items()}
    columns = sorted({column for own in metrics.values() for column in own})
    rows = [["run", *columns, *_PAIRS.values(), _CORRELATION]]
    for name, run in runs.items():
        shares = [100 * getattr(run.pairs, pair).ratio for pair in _PAIRS] + [100 * run.score_iou_correlation]
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
