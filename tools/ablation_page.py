"""The page of a study of tools/ablation.py: its tables, and how sure their differences are."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy import ndarray
from scipy.stats import norm, ttest_1samp
from scipy.stats import t as student

from lidar_rank.evaluation import DIFFICULTIES, evaluate_kitti
from lidar_rank.kitti.files import write_atomically
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.page import Results
from tools.ablation_table import DataSet, Row, Study, options_as_words, root_of

if TYPE_CHECKING:
    from tools.ablation import Run


def resampled_scores(results: Results, study: Study) -> list[float]:
    """The study's score on frames drawn with replacement, the same draws for every run on the data.

    Args:
        results: What a run found in the frames, and what there was to find.
        study: Its score is a KITTI metric, as ``kitti/Car/3d/R40/moderate``.

    Returns:
        One score for each draw.
    """
    _, class_name, metric, recall, difficulty = study.score.split("/")
    rank = [each.name for each in DIFFICULTIES].index(difficulty)
    generator, frames = np.random.default_rng(0), len(results.files)
    scores = []
    for _ in range(study.resampled):
        drawn = generator.integers(frames, size=frames)
        objects, detections = _take(results.objects, drawn), _take(results.detections, drawn)
        result = evaluate_kitti(objects, detections, classes=[class_name], sampling=results.sampling)
        scores.append(round(study.scale * result.ap_percent()[class_name][metric][recall][rank], 3))
    return scores


def resampled_coco_ap(truth: Path, found: Path, draws: int) -> list[float]:
    """COCO's AP in percent on images drawn with replacement, the same draws for every run on the data.

    Args:
        truth: Objects of the images, a file of COCO's format.
        found: Detections, a list of results in COCO's format.
        draws: Number of draws.

    Returns:
        One AP for each draw.
    """
    from pycocotools.coco import COCO  # comes with the host
    from pycocotools.cocoeval import COCOeval

    generator, scores = np.random.default_rng(0), []
    with redirect_stdout(StringIO()):  # pycocotools says at every draw what it does
        objects = COCO(str(truth))
        evaluation = COCOeval(objects, objects.loadRes(str(found)), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl, evaluation.params.maxDets = [[0, 1e10]], ["all"], [100]
        evaluation.evaluate()
        matches = np.array(evaluation.evalImgs, dtype=object).reshape(len(evaluation.params.catIds), -1)
        for _ in range(draws):
            drawn = generator.integers(matches.shape[1], size=matches.shape[1])
            evaluation.evalImgs = matches[:, drawn].ravel().tolist()
            evaluation.accumulate()
            precision = evaluation.eval["precision"]
            scores.append(round(100 * float(precision[precision >= 0].mean()), 3))
    return scores


def _take(objects: KittiObjects, frames: ndarray) -> KittiObjects:
    """A table of chosen frames, each as often as it is named."""
    starts, counts = objects.frame_start[frames], np.diff(objects.frame_start)[frames]
    bounds = np.concatenate([[0], np.cumsum(counts)])
    rows = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], counts)
    columns = {name: getattr(objects, name)[rows] for name in KittiObjects.columns()}
    return KittiObjects(tuple(f"{number:06d}" for number in range(len(frames))), bounds, **columns)


def half_width(differences: ndarray, on_drawn_frames: ndarray) -> float:
    """Half of the 95 % interval of the mean difference of two rows; 0, as there is none, with one or two seeds.

    The variance of the choice of seeds, by Student's distribution, and that of the choice of frames, by the bootstrap,
    are added. A bootstrap of the seeds would be too narrow: of five normal ones it covers the mean in 85 % of cases.
    Two seeds say too little of their spread: half of the interval would be nine times their distance from the mean.

    Args:
        differences: Of each seed, ``(seed,)``.
        on_drawn_frames: The same on frames that are drawn with replacement, ``(seed, draw)``; without draws only the
            choice of seeds counts.
    """
    seeds, draws = on_drawn_frames.shape
    if seeds < 3:
        return 0.0
    of_seeds = student.ppf(0.975, seeds - 1) * differences.std(ddof=1) / seeds**0.5
    of_frames = norm.ppf(0.975) * on_drawn_frames.mean(axis=0).std(ddof=1) if draws else 0.0
    return float(np.hypot(of_seeds, of_frames))


def write_page(study: Study, runs: Sequence["Run"], tuning: Sequence["Run"], options: argparse.Namespace) -> None:
    """Write the page of a study from the runs that are done.

    Args:
        study: What the page is about.
        runs: Its final runs, seed by seed.
        tuning: Its tuning runs.
        options: The command line of tools/ablation.py.
    """
    options.page.parent.mkdir(parents=True, exist_ok=True)
    parts = [_introduction(study, runs, tuning, options), _picture(study, runs, options.page)]
    for data in study.data_sets.values():
        if results := _results(runs, data):
            parts += [_section(study, data, results), _differences(study, data, results)]
    parts += [
        *([_tuning(study, tuning)] if any(run.result() for run in tuning) else []),
        _commands(study, runs, options),
    ]
    write_atomically(options.page, "\n".join(part for part in parts if part).encode())


def _introduction(study: Study, runs: Sequence["Run"], tuning: Sequence["Run"], options: argparse.Namespace) -> str:
    done = [run for run in (*tuning, *runs) if run.result()]
    planned = len(tuning) + study.num_final_runs(options.seeds)
    timed = [run.result()["seconds"] for run in done if "seconds" in run.result()]
    hours = sum(timed) / 3600
    untimed = f", without {len(done) - len(timed)} that were not timed" if len(timed) < len(done) else ""
    given = " --data " + " ".join(f"{name}={root}" for name, root in options.data.items()) if options.data else ""
    frames = ", and that of test frames, by the bootstrap" if study.resampled else ""
    tune = f"python tools/ablation.py {study.name} --phase tune{given}\n" if study.tuning else ""
    return f"""# {study.title}

{study.text}

Differences are those to the first row of the detector: each seed of a row is compared with the same seed of the first.
Their 95 % intervals cover the choice of seeds, by Student's distribution{frames};
one or two seeds have none.
Of five seeds the width of an interval is itself uncertain: a row with a narrow one is no surer than others. Seed 0
of a row with trials is the run that its settings were chosen by.

{len(done)} of {planned} runs are done; their training took {hours:.1f} hours of one core{untimed}.
The following does the others and writes this page anew:
```
{tune}python tools/ablation.py {study.name}{given}
```
"""


def _results(runs: Sequence["Run"], data: DataSet) -> dict[str, dict[int, dict[str, Any]]]:
    """Results on a data set, by row and seed."""
    results: dict[str, dict[int, dict[str, Any]]] = {}
    for run in runs:
        if data.name in run.result():
            results.setdefault(run.row.name, {})[run.seed] = run.result()[data.name]
    return results


def _section(study: Study, data: DataSet, results: dict[str, dict[int, dict[str, Any]]]) -> str:
    lines = [f"## {data.title}", *([data.text] if data.text else []), ""]
    lines += [f"| loss | seeds | {' | '.join(study.columns)} | difference |"]
    lines += ["| --- | --- " + "| ---: " * (1 + len(study.columns)) + "|"]
    first = _first_rows(study)
    for name, row in study.rows.items():
        if name in results:
            metrics = [result["metrics"] for result in results[name].values()]
            cells = [" / ".join(_cell(metrics, key) for key in keys) for keys in study.columns.values()]
            cells.append(_difference(study, results[name], results.get(first[row.detector], {})))
            lines.append(f"| {name} | {len(metrics)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(study: Study, data: DataSet, results: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Differences in every column, of rows with three seeds or more."""
    first = _first_rows(study)
    gaps: dict[str, dict[str, ndarray]] = {}  # metric, row
    for name, row in study.rows.items():
        own, other = results.get(name, {}), results.get(first[row.detector], {})
        if own is not other and len(own.keys() & other.keys()) > 2:
            for key in chain(*study.columns.values()):
                gaps.setdefault(key, {})[name] = _paired(own, other, partial(_metric, key))
    if not gaps:
        return ""
    lines = [
        f"### Differences: {data.title[0].lower()}{data.title[1:]}",
        "The intervals here cover the choice of seeds alone. A star marks a difference that is certain beside those of",
        "all rows of the detector in a column: by Student's test with Holm's correction, 5 % for all of them together.",
        "",
        f"| loss | seeds | {' | '.join(study.columns)} |",
        f"| --- | --- {'| ---: ' * len(study.columns)}|",
    ]
    certain = {key: _certain(of_rows, lambda name: study.rows[name].detector) for key, of_rows in gaps.items()}
    for name in next(iter(gaps.values())):
        cells = [
            " / ".join(_gap_of_seeds(gaps[key][name], key) + "*" * (name in certain[key]) for key in keys)
            for keys in study.columns.values()
        ]
        lines.append(f"| {name} | {len(next(iter(gaps.values()))[name])} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _metric(key: str, result: dict[str, Any]) -> float:
    return float(result["metrics"].get(key, np.nan))


def _gap_of_seeds(gaps: ndarray, key: str) -> str:
    """Mean difference of a metric and half of the interval that covers the choice of seeds."""
    if np.isnan(gaps).any():
        return "-"
    digits = 2 if key.startswith("reversed") else 1
    return f"{gaps.mean():+.{digits}f} ± {half_width(gaps, np.empty((len(gaps), 0))):.{digits}f}"


def _certain(gaps: dict[str, ndarray], family_of: Callable[[str], str]) -> set[str]:
    """Rows whose differences are not zero by Student's paired test, with 5 % for all rows of a family together.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979.

    Args:
        gaps: Of each row, the difference of each seed, ``(seed,)``; a row without a value has NaN.
        family_of: The family of a row.
    """
    families: dict[str, dict[str, float]] = {}
    for name, of_seeds in gaps.items():
        if not np.isnan(of_seeds).any():
            # A measure that moves in steps may be the same for all seeds, and then says nothing of their spread.
            p_value = float(ttest_1samp(of_seeds, 0).pvalue) if np.ptp(of_seeds) > 1e-9 else 1.0
            families.setdefault(family_of(name), {})[name] = p_value
    found = set()
    for values in families.values():
        for rank, name in enumerate(sorted(values, key=values.__getitem__)):
            if values[name] * (len(values) - rank) > 0.05:
                break
            found.add(name)
    return found


def _paired(own: dict[int, Any], other: dict[int, Any], value: Callable[[dict[str, Any]], Any]) -> ndarray:
    """Difference of a value between two rows for each of the seeds that both have, ``(seed, ...)``."""
    seeds = sorted(own.keys() & other.keys())
    return np.array([value(own[seed]) for seed in seeds]) - np.array([value(other[seed]) for seed in seeds])


def _first_rows(study: Study) -> dict[str, str]:
    """The row of each detector that its others are compared with."""
    return {row.detector: name for name, row in reversed(study.rows.items())}


def _cell(metrics: Sequence[dict[str, float]], key: str) -> str:
    values = [each[key] for each in metrics if key in each]
    return f"{mean(values):.{2 if key.startswith('reversed') else 1}f}" if values else "-"


def _difference(study: Study, own: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]]) -> str:
    if own is other or (found := _gap(study, own, other)) is None:
        return "-"
    gap, half = found
    return f"{gap:+.1f} ({gap - half:+.1f} to {gap + half:+.1f})" if half else f"{gap:+.1f}"


def _gap(study: Study, own: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]]) -> tuple[float, float] | None:
    """Mean difference of two rows over the seeds that both have, and half of its interval."""
    gaps = _paired(own, other, lambda result: result["metrics"][study.score])
    if not len(gaps):
        return None
    return float(gaps.mean()), half_width(gaps, _paired(own, other, lambda result: result["resampled"]))


def _picture(study: Study, runs: Sequence["Run"], page: Path) -> str:
    """Draw the differences beside the page, if there are any; return what shows them."""
    found: dict[str, dict[str, tuple[float, float]]] = {}  # data set, row
    for data in study.data_sets.values():
        results = _results(runs, data)
        for name, row in study.rows.items():
            own, other = results.get(name, {}), results.get(_first_rows(study)[row.detector], {})
            if own is not other and (gap := _gap(study, own, other)):
                found.setdefault(data.title, {})[name] = gap
    if not found:
        return ""
    _draw_differences(found, page.with_suffix(".png"))
    return f"![Differences to the first row of the detector]({page.with_suffix('.png').name})\n"


def _draw_differences(found: dict[str, dict[str, tuple[float, float]]], out: Path) -> None:
    mpl.use("Agg")
    rows = list(dict.fromkeys(name for gaps in found.values() for name in gaps))
    figure, panels = plt.subplots(
        1,
        len(found),
        figsize=(3 + 3.5 * len(found), 1.2 + 0.3 * len(rows)),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axes, (title, gaps) in zip(panels[0], found.items(), strict=True):
        middle, half = np.array(list(gaps.values())).T
        axes.errorbar(middle, [rows.index(name) for name in gaps], xerr=half, fmt="o")
        axes.axvline(0, color="0.6", linewidth=1)
        end = 1.1 * (np.abs(middle) + half).max()
        axes.set_title(title, fontsize="medium")
        axes.set_xlim(-end, end)
    panels[0][0].set(yticks=range(len(rows)), yticklabels=rows)
    panels[0][0].invert_yaxis()
    figure.supxlabel("difference to the first row, 95 % interval")
    plt.savefig(out, dpi=100)
    plt.close(figure)


def _tuning(study: Study, tuning: Sequence["Run"]) -> str:
    assert study.tuning is not None
    lines = [
        "## Tuning",
        f"`{study.score}` of each trial on held-out frames that no other table of this page uses. The best trial of a",
        "row, in bold where all are done, is its setting in all tables.",
        "",
        "| row | trial |",
        "| --- | --- |",
    ]
    scores: dict[str, dict[str, list[float]]] = {}
    for run in tuning:
        if study.tuning.data in run.result():
            trial = study.rows[run.row.name].trials[int(run.folder.parent.name)]
            score = run.result()[study.tuning.data]["metrics"][study.score]
            scores.setdefault(run.row.name, {}).setdefault(_words(trial), []).append(score)
    for row, trials in scores.items():
        done = len(trials) == len(study.rows[row].trials)
        best = max(trials, key=lambda trial: mean(trials[trial])) if done else None
        cells = (
            f"{trial}: {'**' * (trial == best)}{mean(found):.1f}{'**' * (trial == best)}"
            for trial, found in trials.items()
        )
        lines.append(f"| {row} | {'; '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _words(options: dict[str, Any]) -> str:
    """Settings, those of the model by what follows the name of its head, and others by their last word."""

    def word(key: str) -> str:
        return key.split(".", 2)[2] if key.startswith("model.") else key.rpartition(".")[2]

    return ", ".join(f"{word(key)} {value}" for key, value in options.items()) or "as in the config"


def _commands(study: Study, runs: Sequence["Run"], options: argparse.Namespace) -> str:
    """What trains the rows of the tables, as a reader would type it."""
    lines = [
        "## Commands",
        "SEED is 0, 1 and so on; `tools/ablation.py` gives these commands and tests afterwards.",
        "```",
    ]
    if study.options:
        _, *words = options_as_words(study.options)
        lines.append('OPTIONS="' + " \\\n  ".join(words) + '"')
    rows: dict[str, Row] = {run.row.name: run.row for run in runs if run.result()}
    for name, row in rows.items():
        data = study.data_sets[row.data]
        own = {key: value for key, value in row.options.items() if study.options.get(key) != value}
        if row.tests_of:
            continue
        if row.start:
            own["load_from"] = f"{row.start}/SEED"
        config = " --loss ".join([Path(row.config).stem, *([row.loss] if row.loss else [])])  # by name, from any folder
        words = ["--cfg-options", *(["$OPTIONS"] if study.options else []), *options_as_words(own)[1:]]
        lines.append(
            f"{data.variable}={root_of(data, options)} lidar-rank train {config} --seed SEED"
            f"{' ' + ' '.join(words) if words[1:] else ''}  # {name}"
        )
    return "\n".join([*lines, "```", ""])
