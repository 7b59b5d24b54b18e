"""The page of ``lidar-rank report``: scans and results of one or several runs side by side."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.analysis import Diagnosis
from lidar_rank.page.charts import colour_of, heat_map, line_chart, stairs
from lidar_rank.page.measures import ClassMeasures, measure
from lidar_rank.page.run import Results, Run
from lidar_rank.page.scene import SceneReader
from lidar_rank.page.write import MAX_BYTES, Page, render_page
from lidar_rank.shapes import Float

MAX_SCANS: Final = 100
# Settings that say where a run was, not what it did.
NOT_COMPARED: Final = ("work_dir", "load_from", "resume", "launcher", "data_root", "auto_scale_lr", "env_cfg", "vis")
# Columns that tell the objects of one data set from those of another; without a camera all image boxes are 0.
WHERE_OBJECTS_ARE: Final = ("bbox_px", "location_m")
AP_HINTS: Final = {
    "kitti": "KITTI's AP at 40 recalls, for the easy, moderate and hard objects; 3d is the overlap of volumes, bev that"
    " seen from above, bbox that in the image, aos bbox with the heading.",
    "lidar": "AP at 40 recalls, for all objects and in bands of distance; 3d is the overlap of volumes, bev that seen"
    " from above.",
    "coco": "COCO's AP is that of its own names.",
}
PAIRS: Final = {
    "foreground_background": "F-B: object and background",
    "positive_negative": "P-N: object and all else, by class",
    "positive_positive": "P-P: two boxes of objects",
}


class _Best(str):
    """A number that is the best of its group."""


def render_report(runs: Mapping[str, Run], *, max_scans: int = MAX_SCANS, max_bytes: int = MAX_BYTES) -> Page:
    """Return a page that compares runs.

    Args:
        runs: By the name that the page shows.
        max_scans: Scans to show, evenly chosen among those that were tested. All results are of all scans.
        max_bytes: As in :func:`render_page`.

    Raises:
        ValueError: there is no run, or runs have different bins.
    """
    if not runs:
        raise ValueError("runs is empty: give at least one run to show")
    notes, comparable = compare_data(runs)
    names = _choose_frames([own for own in comparable if own is not None], max_scans)
    reader = SceneReader(comparable)
    overlaps: dict[str, float] = {}
    for own in comparable:
        overlaps |= {} if own is None else dict(own.min_overlap)
    page = render_page(
        map(reader.read, names),
        ", ".join(runs),
        list(runs),
        min_overlap=overlaps,
        results=_sections(runs, notes),
        max_bytes=max_bytes,
    )
    return replace(page, notes=(*notes, *page.notes))


def compare_data(runs: Mapping[str, Run]) -> tuple[list[str], list[Results | None]]:
    """What stands in the way of a comparison, and the results that can be shown side by side."""
    notes = []
    comparable: list[Results | None] = []
    first: tuple[str, Results] | None = None
    for name, run in runs.items():
        own = run.results
        if own is None or not own.files:
            notes.append(
                f"{name} has no boxes to show: 'lidar-rank analyze' of this version writes them where the test set has"
                " labels."
            )
            own = None
        elif not len(own.detections):
            notes.append(f"{name} has found nothing: no detections in {len(own.files)} scans or images.")
        if own is not None and first is not None:
            common = _common_frames(own, first[1])
            if not common:
                notes.append(
                    f"{name} and {first[0]} were tested on different data, {own.files[0].parent} and"
                    f" {first[1].files[0].parent}: their AP cannot be compared, and the scans of {name} are left out."
                )
                own = None
            elif len(common) < max(len(own.files), len(first[1].files)):
                notes.append(
                    f"{name} was tested on {len(own.files)} scans and {first[0]} on {len(first[1].files)}, of which"
                    f" {len(common)} are the same: their AP cannot be compared."
                )
        elif own is not None:
            first = name, own
        comparable.append(own)
    return notes, comparable


def _common_frames(own: Results, first: Results) -> list[str]:
    """Frames that both have; none where a frame of one name has other objects in each, as in other data sets."""
    position = {name: index for index, name in enumerate(first.objects.frame_ids)}
    pairs = [(index, position[name]) for index, name in enumerate(own.objects.frame_ids) if name in position]
    for pair in pairs:
        tables = [results.objects.frame(index) for results, index in zip((own, first), pair, strict=True)]
        if own.is_3d != first.is_3d or not all(
            np.array_equal(getattr(tables[0], column), getattr(tables[1], column)) for column in WHERE_OBJECTS_ARE
        ):
            return []
    return [own.objects.frame_ids[index] for index, _ in pairs]


def _choose_frames(comparable: Sequence[Results], max_scans: int) -> list[str]:
    """Evenly chosen frames among those that all runs were tested on, or else the first."""
    if not comparable:
        return []
    common = set(comparable[0].objects.frame_ids).intersection(*(own.objects.frame_ids for own in comparable))
    names = [name for name in comparable[0].objects.frame_ids if name in common or not common]
    chosen = np.unique(np.linspace(0, len(names) - 1, min(max_scans, len(names))).round().astype(int))
    return [names[index] for index in chosen]


def _sections(runs: Mapping[str, Run], notes: Sequence[str]) -> str:
    """HTML of the results."""
    measures = {
        name: measure(run.results) for name, run in runs.items() if run.results is not None and run.results.files
    }
    diagnoses = {name: run.diagnosis for name, run in runs.items()}
    has_difficulties = any(run.results is not None and run.results.has_difficulties for run in runs.values())
    counted = "objects of moderate difficulty" if has_difficulties else "all objects"
    sections = [
        ("Average precision", _ap_table(diagnoses)),
        ("What a better ranking could still win", _ranking_table(measures, counted)),
        ("Precision and recall", _precision_charts(runs, measures)),
        ("AP by distance", _distance_tables(measures, counted)),
        ("Reversed pairs", _pairs_table(diagnoses)),
        ("Distributions", _distribution_charts(diagnoses)),
        ("Settings that differ", _settings_table(runs)),
    ]
    legend = "".join(
        f'<li><i style="background:{colour_of(index)}"></i>{html.escape(name)}</li>' for index, name in enumerate(runs)
    )
    warnings = "".join(f'<p class="warning">{html.escape(note)}</p>' for note in notes)
    body = "".join(f"<section><h2>{title}</h2>{content}</section>" for title, content in sections if content)
    return f'<ul class="runs">{legend}</ul>{warnings}{body}'


def _ap_table(runs: Mapping[str, Diagnosis]) -> str:
    """Every AP of the tests, those of KITTI at 40 recalls."""
    rows: dict[str, dict[str, float]] = {}
    for name, run in runs.items():
        for metric, value in run.metrics.items():
            label, difficulty = _split_metric(metric)
            if label:
                rows.setdefault(label, {})[f"{name}/{difficulty}"] = value
    if not rows:
        return "<p>No run has an average precision: there were no labels to compare with.</p>"
    difficulties = list(dict.fromkeys(key.rpartition("/")[2] for cells in rows.values() for key in cells))
    header = ["%", *(f"{name} {difficulty}" for difficulty in difficulties for name in runs)]
    body = []
    for label, cells in rows.items():
        groups = [[cells.get(f"{name}/{difficulty}", math.nan) for name in runs] for difficulty in difficulties]
        body.append([label, *(cell for group in groups for cell in _best_is_marked(group))])
    sources = {metric.partition("/")[0] for run in runs.values() for metric in run.metrics}
    hints = [hint for source, hint in AP_HINTS.items() if source in sources]
    return _table(header, body) + "".join(f"<p>{hint}</p>" for hint in hints)


def _split_metric(metric: str) -> tuple[str, str]:
    """Row and column of a metric: ``("Car 3d", "moderate")``; no row where it is not shown."""
    source, *rest = metric.split("/")
    if source in ("kitti", "lidar") and len(rest) == 4:
        class_name, overlap, sampling, difficulty = rest
        return (f"{class_name} {overlap}", difficulty) if sampling == "R40" else ("", "")
    return metric, "all"


def _best_is_marked(values: Sequence[float]) -> list[str]:
    known = [value for value in values if not math.isnan(value)]
    best = max(known) if len(known) > 1 else None
    cells = ["-" if math.isnan(value) else f"{value:.2f}" for value in values]
    return [_Best(cell) if value == best else cell for value, cell in zip(values, cells, strict=True)]


def _ranking_table(runs: Mapping[str, Mapping[str, ClassMeasures]], counted: str) -> str:
    rows = [
        [
            f"{class_name}, {name}",
            f"{own.ap_percent:.2f}",
            f"{own.best_ap_percent:.2f}",
            f"{own.best_ap_percent - own.ap_percent:.2f}",
        ]
        for class_name in _classes(runs)
        for name, measures in runs.items()
        if (own := measures.get(class_name))
    ]
    hint = (
        f"<p>AP of {counted}, by 3D IoU in scans, by IoU in images: the same boxes, ranked by their score and by their"
        " true overlap with an object. The difference is what scores lose, the rest to 100 what was not found.</p>"
    )
    return _table(["AP %", "by score", "by true overlap", "difference"], rows) + hint if rows else ""


def _classes(runs: Mapping[str, Mapping[str, ClassMeasures]]) -> list[str]:
    return list(dict.fromkeys(name for measures in runs.values() for name in measures))


def _precision_charts(runs: Mapping[str, Run], measures: Mapping[str, Mapping[str, ClassMeasures]]) -> str:
    nothing = np.zeros(0), np.zeros(0)
    charts = []
    for class_name in _classes(measures):
        # A run without this class has an empty line, so that each keeps its colour.
        lines = {
            name: _recall_and_precision(measures[name][class_name]) if class_name in measures.get(name, {}) else nothing
            for name in runs
        }
        charts.append(_figure(html.escape(class_name), line_chart(lines, "recall", "precision")))
    return _figures(charts)


def _recall_and_precision(measures: ClassMeasures) -> tuple[Float[ndarray, " recall"], Float[ndarray, " recall"]]:
    """The samples up to the last recall that is reached."""
    precision = measures.curve.precision
    reached = int(np.count_nonzero(precision)) or 1
    recall = np.linspace(0, 1, len(precision))
    return recall[:reached], precision[:reached]


def _distance_tables(runs: Mapping[str, Mapping[str, ClassMeasures]], counted: str) -> str:
    tables = []
    for class_name in _classes(runs):
        having = {name: measures[class_name] for name, measures in runs.items() if class_name in measures}
        by_distance = {
            name: {(band.near_m, band.far_m): band for band in own.by_distance}
            for name, own in having.items()
            if own.by_distance
        }
        if not by_distance:
            continue
        rows = []
        for near_m, far_m in sorted(set().union(*by_distance.values())):
            bands = [own.get((near_m, far_m)) for own in by_distance.values()]  # None for a run with other bands
            label = f"{near_m:g} m and more" if math.isinf(far_m) else f"{near_m:g} to {far_m:g} m"
            num_objects = dict.fromkeys(str(band.num_objects) for band in bands if band)  # several if ranges differ
            values = [band.ap_percent if band and band.num_objects else math.nan for band in bands]
            rows.append([label, " / ".join(num_objects), *_best_is_marked(values)])
        tables.append(_table([f"{class_name}, AP %", "objects", *by_distance], rows))
    hint = (
        f"<p>3D AP of {counted} at 40 recalls, by the distance of the objects. A box counts where the object is that it"
        " finds, or where it lies itself if it is false.</p>"
    )
    return "".join(tables) + hint if tables else ""


def _pairs_table(runs: Mapping[str, Diagnosis]) -> str:
    rows = []
    for field, label in PAIRS.items():
        counts = [getattr(run.pairs, field) for run in runs.values()]
        rows.append([label, *(f"{100 * count.ratio:.3f}" if count.total else "-" for count in counts)])
    correlations = [100 * run.score_iou_correlation for run in runs.values()]
    rows.append(["correlation", *("-" if math.isnan(value) else f"{value:.1f}" for value in correlations)])
    hint = (
        "<p>Shares of the pairs of candidates of a scan or image that are ranked in the wrong order. F-B: an object"
        " scores below background. P-N: an object scores below background or an object of another class, both by the"
        " score of the first object's class. P-P: the worse of two boxes scores above the better one. A tie counts"
        " half. Correlation: of the scores of the candidates of objects with the overlaps of their boxes.</p>"
    )
    return _table(["%", *runs], rows) + hint


def _distribution_charts(runs: Mapping[str, Diagnosis]) -> str:
    counts = {name: run.distributions for name, run in runs.items()}
    outlines = {
        ("Scores of objects", "score", "share of positives"): "foreground_score",
        ("Scores of background", "best score of a candidate", "share of background"): "background_score",
        ("Gradient norms", "norm of the gradient of cross entropy", "share of entries"): "gradient_norm",
    }
    charts = [
        _figure(
            title,
            line_chart(
                {name: stairs(getattr(own, field), own.edges) for name, own in counts.items()},
                x_label,
                y_label,
                log=True,
            ),
        )
        for (title, x_label, y_label), field in outlines.items()
    ]
    charts += [
        _figure(
            f"Score against overlap, {html.escape(name)}",
            heat_map(own.score_and_iou, "overlap with the object", "score of its class", index),
        )
        for index, (name, own) in enumerate(counts.items())
    ]
    hint = (
        "<p>Objects should have high scores and background low ones. A detector that ranks by quality fills the"
        " diagonal of score against overlap. The easy background, to which GHM gives less weight, is the peak of the"
        " gradient norms at 0.</p>"
    )
    return _figures(charts) + hint


def _settings_table(runs: Mapping[str, Run]) -> str:
    if len(runs) < 2:
        return ""
    having = {name: run.settings for name, run in runs.items() if run.settings}
    keys = sorted({key for settings in having.values() for key in settings if not key.startswith(NOT_COMPARED)})
    rows = [
        [key, *(settings.get(key, "-") for settings in having.values())]
        for key in keys
        if len({settings.get(key) for settings in having.values()}) > 1
    ]
    if not rows:
        return "<p>No setting differs.</p>"
    return f'<div class="settings">{_table(["setting", *having], rows)}</div>'


def _figures(charts: Sequence[str]) -> str:
    return f'<div class="figures">{"".join(charts)}</div>' if charts else ""


def _figure(title: str, chart: str) -> str:
    return f"<figure><figcaption>{title}</figcaption>{chart}</figure>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    return f"<td class='best'>{text}</td>" if isinstance(text, _Best) else f"<td>{html.escape(text)}</td>"
