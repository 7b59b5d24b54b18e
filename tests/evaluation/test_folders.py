"""Evaluation of folders: which frames count, and what is said about it."""

import re

import pytest

from lidar_rank.evaluation import evaluate_folders, evaluate_kitti, format_table
from lidar_rank.evaluation.rules import MIN_OVERLAP
from lidar_rank.kitti.labels import read_frame_ids, read_kitti_labels, read_kitti_results
from tests.kitti.roots import CALIBRATION

CAR = "Car 0.00 0 -1.57 500.00 150.00 600.00 220.00 1.50 1.60 4.00 1.00 1.70 20.00 -1.57"
FRAMES = ("000001", "000002", "000003", "000004")


@pytest.fixture
def folders(tmp_path):
    """One car in each of four frames, of which the first has a result file that finds it."""
    labels, results = tmp_path / "labels", tmp_path / "results"
    labels.mkdir()
    results.mkdir()
    for frame_id in FRAMES:
        (labels / f"{frame_id}.txt").write_text(CAR)
    (results / "000001.txt").write_text(f"{CAR} 0.9")
    return labels, results


def found_and_missed(result):
    counts = result.curves["Car"]["3d"][1].counts
    return int(counts.true_positives[-1]), int(counts.false_negatives[-1])


def write_split(folder, *frame_ids):
    path = folder / "val.txt"
    path.write_text("\n".join(frame_ids))
    return path


def test_different_frames_are_refused_and_the_ways_on_are_named(folders):
    """One result file for four labelled frames gave an AP of 100."""
    labels, results = folders
    message = (
        f"{results} has no file for 3 of the 4 frames of {labels}, the first is 000002: say which frames count with "
        "--split FILE (those that it lists), --frames labels (all; a missing result file counts as nothing found) or "
        "--frames results (those with a result file)"
    )
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        evaluate_folders(labels, results)
    assert "\n" not in str(error.value)


def test_a_missing_result_file_counts_as_nothing_found(folders):
    result = evaluate_folders(*folders, frames="labels")
    assert found_and_missed(result) == (1, 3)
    assert result.num_frames == 4
    note = f"frames: all 4 of {folders[0]}; 3 of them have no result file, which counts as nothing found"
    assert note in format_table(result).splitlines()


def test_frames_with_a_result_file_may_be_evaluated_alone(folders):
    result = evaluate_folders(*map(str, folders), frames="results")
    assert found_and_missed(result) == (1, 0)
    assert f"frames: the 1 with a result file among the 4 of {folders[0]}" in format_table(result).splitlines()


def test_a_split_names_the_frames(folders, tmp_path):
    labels, results = folders
    split = write_split(tmp_path, "000002", "000001")
    with pytest.raises(ValueError, match=rf"results has no file for 1 of the 2 frames of {split}, the first is 000002"):
        evaluate_folders(labels, results, split)
    assert found_and_missed(evaluate_folders(labels, results, split, frames="labels")) == (1, 1)
    assert found_and_missed(evaluate_folders(labels, results, split, frames="results")) == (1, 0)
    (results / "000002.txt").touch()
    result = evaluate_folders(labels, results, split)
    assert found_and_missed(result) == (1, 1)
    assert result.frame_choice == f"all 2 of {split}"
    (results / "000003.txt").touch()
    with pytest.raises(ValueError, match=r"000003.txt is for a frame that is not evaluated"):
        evaluate_folders(labels, results, split)


def test_objects_outside_the_range_of_a_detector_neither_count_as_found_nor_as_missed(tmp_path):
    """As the evaluator of a config does it, whose point_cloud_range the numbers are."""
    labels, results = tmp_path / "training" / "label_2", tmp_path / "results"
    for folder in (labels, results, labels.parent / "calib"):
        folder.mkdir(parents=True)
    (labels.parent / "calib" / "000001.txt").write_text(CALIBRATION)
    (labels / "000001.txt").write_text(f"{CAR}\n{CAR.replace('20.00 -1.57', '50.00 -1.57')}")
    (results / "000001.txt").write_text(f"{CAR} 0.9")
    assert found_and_missed(evaluate_folders(labels, results)) == (1, 1)
    result = evaluate_folders(labels, results, range_m=[-41, -41, -3, 41, 41, 1])
    assert found_and_missed(result) == (1, 0)
    note = "objects: those with x from -41 to 41 m and y from -41 to 41 m; others count neither as found nor as missed"
    assert note in format_table(result).splitlines()
    with pytest.raises(ValueError, match="range must be x, y, z minimum and then x, y, z maximum in metres, got"):
        evaluate_folders(labels, results, range_m=[41, -41, -3, -41, 41, 1])
    (labels.parent / "calib" / "000001.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"calib/000001\.txt"):
        evaluate_folders(labels, results, range_m=[-41, -41, -3, 41, 41, 1])


def test_folders_with_the_same_frames_need_no_choice(folders):
    labels, results = folders
    for frame_id in FRAMES[1:]:
        (results / f"{frame_id}.txt").touch()
    for frames in (None, "labels", "results"):
        result = evaluate_folders(labels, results, frames=frames)
        assert (*found_and_missed(result), result.frame_choice) == (1, 3, f"all 4 of {labels}")


@pytest.mark.parametrize("frames", [None, "labels", "results"])
def test_results_of_frames_without_labels_are_refused(folders, frames):
    labels, results = folders
    (results / "9.txt").touch()
    with pytest.raises(ValueError, match=f"{labels} has no file for 1 results, the first is 9: say which"):
        evaluate_folders(labels, results, frames=frames)


def test_no_frame_or_an_unknown_choice_is_an_error(folders, tmp_path):
    labels, results = folders
    (results / "000001.txt").unlink()
    with pytest.raises(ValueError, match="there are no frames to evaluate"):
        evaluate_folders(labels, results, frames="results")
    with pytest.raises(ValueError, match=r"frames must be None or one of \('labels', 'results'\), got 'all'"):
        evaluate_folders(labels, results, frames="all")
    with pytest.raises(FileNotFoundError, match="no folder"):
        evaluate_folders(labels, tmp_path / "nowhere")


@pytest.mark.real
def test_real_folders_equal_the_tables_that_are_read_from_them(kitti_root, shared):
    labels, results = kitti_root / "training" / "label_2", shared / "kitti_results" / "frustum_pointnet" / "data"
    split = kitti_root / "ImageSets_official" / "val.txt"
    options = {"classes": ["Cyclist"], "min_overlap": MIN_OVERLAP, "drop_at_min_height": True}
    frame_ids = read_frame_ids(split)
    tables = read_kitti_labels(labels, frame_ids), read_kitti_results(results, frame_ids)
    expected = evaluate_kitti(*tables, **options).ap_percent()
    assert evaluate_folders(labels, results, split, **options).ap_percent() == expected
    assert evaluate_folders(labels, results, frames="results", **options).ap_percent() == expected
