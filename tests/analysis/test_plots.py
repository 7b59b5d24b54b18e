"""Figures show the numbers of their inputs, and matplotlib is imported only when one is drawn."""

import io
import subprocess
import sys

import numpy as np
import pytest

from lidar_rank.analysis import count_distributions, plot_gradient_norms, plot_score_against_iou, plot_scores
from tests.analysis.candidates import random_candidates

RUNS = {name: count_distributions(*random_candidates(seed)) for seed, name in enumerate(["focal", "RankDet"])}


def stairs(axes):
    return {patch.get_label(): patch.get_data() for patch in axes.patches}


@pytest.mark.parametrize("plot", [plot_scores, plot_gradient_norms, plot_score_against_iou])
def test_figures_can_be_saved(plot):
    picture = io.BytesIO()
    plot(RUNS).savefig(picture, format="png")
    assert picture.getvalue().startswith(b"\x89PNG")


def test_lines_are_the_shares_of_each_run():
    for axes, field in zip(plot_scores(RUNS).axes, ["foreground_score", "background_score"], strict=True):
        for name, run in RUNS.items():
            line, counts = stairs(axes)[name], getattr(run, field)
            np.testing.assert_allclose(line.values, counts / counts.sum())
            np.testing.assert_array_equal(line.edges, run.edges)
    (axes,) = plot_gradient_norms(RUNS).axes
    assert stairs(axes)["focal"].values.sum() == pytest.approx(1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(RUNS)


def test_panels_show_score_upwards_and_overlap_to_the_right():
    scores = np.array([[[0.95], [0.95]]])
    run = count_distributions(scores, np.array([[0, 0]]), np.array([[0.05, 0.05]]), bins=10)
    (axes,) = plot_score_against_iou({"one": run}).axes
    shown = np.asarray(axes.collections[0].get_array()).reshape(10, 10)
    assert np.argwhere(shown).tolist() == [[9, 0]]
    assert (axes.get_title(), axes.get_ylabel()) == ("one", "score of its class")


def test_a_run_without_candidates_draws_an_empty_line():
    empty = count_distributions(np.zeros((1, 0, 1)), np.zeros((1, 0), int), np.zeros((1, 0)))
    assert stairs(plot_gradient_norms({"empty": empty}).axes[0])["empty"].values.tolist() == [0] * 30


@pytest.mark.parametrize("plot", [plot_scores, plot_gradient_norms, plot_score_against_iou])
def test_no_runs_are_refused(plot):
    with pytest.raises(ValueError, match="runs is empty"):
        plot({})


def test_import_is_light():
    code = (
        "import sys, lidar_rank.analysis; print([m for m in ('torch', 'matplotlib', 'mmengine') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
