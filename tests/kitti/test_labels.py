"""Reading and writing label and result files: exact values, and one clear error for each way a file can be wrong."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.evaluation import evaluate_kitti
from lidar_rank.kitti.labels import (
    KittiObjects,
    join_frames,
    list_frame_ids,
    read_frame_ids,
    read_kitti_labels,
    read_kitti_results,
    write_kitti_results,
)

CAR = "Car 0.25 1 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
CYCLIST = "Cyclist 0.00 0 2.46 665.45 160.00 717.93 217.99 1.72 0.47 1.65 2.45 1.35 22.10 2.35"
DONTCARE = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"


def write(folder: Path, **texts: str) -> list[str]:
    """Files ``000000.txt`` ... of the texts, in their order."""
    frame_ids = []
    for i, text in enumerate(texts.values()):
        frame_ids.append(f"{i:06d}")
        (folder / f"{i:06d}.txt").write_bytes(text.encode())
    return frame_ids


def assert_equal(a: KittiObjects, b: KittiObjects) -> None:
    assert a.frame_ids == b.frame_ids
    for column in ("frame_start", *KittiObjects.columns()):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column), err_msg=column)


def test_columns_go_where_they_belong(tmp_path):
    frame_ids = write(tmp_path, first=f"{CAR}\n{DONTCARE}\n", empty="", last=CYCLIST)
    objects = read_kitti_labels(tmp_path, frame_ids)
    assert objects.frame_ids == ("000000", "000001", "000002")
    assert objects.frame_start.tolist() == [0, 2, 2, 3]
    assert objects.name.tolist() == ["Car", "DontCare", "Cyclist"]
    assert objects.truncation.tolist() == [0.25, -1, 0]
    assert objects.occlusion.tolist() == [1, -1, 0]
    assert objects.alpha_rad.tolist() == [-1.58, -10, 2.46]
    assert objects.bbox_px[0].tolist() == [587.01, 173.33, 614.12, 200.12]
    assert objects.size_m[0].tolist() == [1.65, 1.67, 3.64]
    assert objects.location_m[2].tolist() == [2.45, 1.35, 22.10]
    assert objects.yaw_rad.tolist() == [-1.59, -10, 2.35]
    assert np.isnan(objects.score).all()


def test_frames_come_in_the_order_asked_for_and_others_stay_out(tmp_path):
    write(tmp_path, a=CAR, b=CYCLIST, c="not a label")
    objects = read_kitti_labels(tmp_path, ["000001", "000000"])
    assert objects.name.tolist() == ["Cyclist", "Car"]


def test_blank_lines_spaces_and_windows_line_ends_do_not_matter(tmp_path):
    frame_ids = write(tmp_path, a=f"\n  {CAR}  \r\n\r\n \t\n{CYCLIST.replace(' ', '   ')}\n\n", b="\n \n")
    objects = read_kitti_labels(tmp_path, frame_ids)
    assert objects.name.tolist() == ["Car", "Cyclist"]
    assert objects.frame_start.tolist() == [0, 2, 2]
    assert objects.yaw_rad.tolist() == [-1.59, 2.35]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_byte_order_marks_lose_no_object(tmp_path, encoding, line_end):
    """The first object of a file with a byte-order mark had the type '\\ufeffCar', which is in no class."""
    frame_ids = [f"{i:06d}" for i in range(60)]
    other = CAR.replace("587.01 173.33 614.12", "187.01 173.33 214.12").replace("-0.65 1.71", "-9.65 1.71")
    for folder, ending in (("labels", ""), ("results", " 0.5")):
        (tmp_path / folder).mkdir()
        text = "".join(f"{line}{ending}{line_end}" for line in (CAR, other))
        for frame_id in frame_ids:
            (tmp_path / folder / f"{frame_id}.txt").write_bytes(text.encode(encoding))
    (tmp_path / "val.txt").write_bytes(line_end.join(frame_ids).encode(encoding))
    assert read_frame_ids(tmp_path / "val.txt") == frame_ids
    tables = read_kitti_labels(tmp_path / "labels", frame_ids), read_kitti_results(tmp_path / "results", frame_ids)
    assert [table.name.tolist() for table in tables] == [["Car"] * 120] * 2
    assert evaluate_kitti(*tables).ap_percent()["Car"]["3d"]["R40"][1:] == [100.0, 100.0]


def test_labels_may_have_a_score_and_results_must(tmp_path):
    frame_ids = write(tmp_path, a=f"{CAR} 0.75\n{CYCLIST}")
    objects = read_kitti_labels(tmp_path, frame_ids)
    assert objects.score[0] == 0.75
    assert np.isnan(objects.score[1])
    with pytest.raises(ValueError, match=r"000000.txt:2: expected 16 columns \(type .* score\), got 15: 'Cyclist"):
        read_kitti_results(tmp_path, frame_ids)


def test_all_frames_empty(tmp_path):
    objects = read_kitti_results(tmp_path, write(tmp_path, a="", b=""))
    assert len(objects) == 0
    assert objects.bbox_px.shape == (0, 4)
    assert objects.frame_start.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (CAR.rsplit(" ", 1)[0], r"expected 15 or 16 columns \(type truncation .* score\), got 14: 'Car"),
        (f"{CAR} 0.5 7", "got 17"),
        ("Car", "got 1: 'Car'"),
        (CAR.replace("614.12", "614,12"), "right must be a finite number, got '614,12'"),
        (CAR.replace("3.64", "nan"), "length must be a finite number, got 'nan'"),
        (CAR.replace("46.70", "-inf"), "z must be a finite number, got '-inf'"),
        (f"{CAR} NaN", "score must be a finite number, got 'NaN'"),
        (f"{CAR} \N{MINUS SIGN}1", "score must be a finite number"),
        (CAR.replace("614.12", "1_000"), "right must be a finite number, got '1_000'"),
        (CAR.replace("614.12", "\uff16"), "right must be a finite number, got '\uff16'"),
        (CAR.replace("614.12", "infinity"), "right must be a finite number, got 'infinity'"),
        (CAR.replace(" ", "\xa0", 3), r"unexpected character U\+00A0 NO-BREAK SPACE"),
        (CAR.replace(" ", "\x1c", 3), r"unexpected character U\+001C"),
        (f"{CAR}\x1c", r"unexpected character U\+001C"),
        ("\x00\x01 binary", r"unexpected character U\+0000"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path, line, message):
    frame_ids = write(tmp_path, good=CAR, bad=f"{CYCLIST}\n\n{line}\n{CAR}")
    with pytest.raises(ValueError, match=rf"{tmp_path}/000001.txt:3: .*{message}"):
        read_kitti_labels(tmp_path, frame_ids)


def test_of_several_bad_lines_the_first_is_named(tmp_path):
    frame_ids = write(tmp_path, a=CAR, b=f"{CAR.replace('46.70', 'nan')}\nCar", c="Car")
    with pytest.raises(ValueError, match=r"000001.txt:1: z must be a finite number"):
        read_kitti_labels(tmp_path, frame_ids)


def test_missing_files_are_counted_and_named(tmp_path):
    frame_ids = write(tmp_path, a=CAR)
    message = r"has no result file for 4 of 5 frames, the first are 000001, 000002, 000003: .* empty"
    with pytest.raises(FileNotFoundError, match=message):
        read_kitti_results(tmp_path, frame_ids + [f"{i:06d}" for i in range(1, 5)])
    with pytest.raises(FileNotFoundError, match="has no label file for 1 of 1 frames"):
        read_kitti_labels(tmp_path, ["000009"])
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        read_kitti_labels(tmp_path / "nowhere", ["000000"])


def test_results_of_unknown_frames_are_named(tmp_path):
    frame_ids = write(tmp_path, a=f"{CAR} 1", b=f"{CAR} 1", c=f"{CAR} 1")
    with pytest.raises(
        ValueError, match=r"000001.txt is for a frame that is not evaluated \(2 such files\): remove it"
    ):
        read_kitti_results(tmp_path, frame_ids[:1])


def test_files_in_another_encoding_are_named(tmp_path):
    frame_ids = write(tmp_path, a=CAR, b="")
    (tmp_path / "000001.txt").write_bytes(f"{CAR}\nTür".encode("latin-1"))
    with pytest.raises(ValueError, match=r"000001.txt:2: not UTF-8 text"):
        read_kitti_labels(tmp_path, frame_ids)
    (tmp_path / "val.txt").write_bytes("000000\nvölker".encode("latin-1"))
    with pytest.raises(ValueError, match=r"val.txt:2: not UTF-8 text"):
        read_frame_ids(tmp_path / "val.txt")


def test_frame_lists(tmp_path):
    split = tmp_path / "val.txt"
    split.write_text("000003\n\n000001 \n")
    assert read_frame_ids(split) == ["000003", "000001"]
    split.write_text("000003\n000001\n000003\n")
    with pytest.raises(ValueError, match=r"val.txt:3: frame 000003 is already on line 1"):
        read_frame_ids(split)
    split.write_text("\n")
    with pytest.raises(ValueError, match="the list is empty"):
        read_frame_ids(split)


def test_listing_a_folder(tmp_path):
    write(tmp_path, a=CAR, b=CAR)
    (tmp_path / "notes.md").write_text("")
    assert list_frame_ids(tmp_path) == ["000000", "000001"]


def random_detections(seed=0, num=200, frames=20):
    rng = np.random.default_rng(seed)
    names = rng.choice(["Car", "Pedestrian", "Cyclist"], num)
    top_left = rng.uniform(0, 300, (num, 2))
    return KittiObjects(
        frame_ids=tuple(f"{i:06d}" for i in range(frames)),
        frame_start=np.concatenate([[0], np.sort(rng.integers(0, num + 1, frames - 1)), [num]]),
        name=names,
        truncation=np.full(num, -1.0),
        occlusion=np.full(num, -1.0),
        alpha_rad=rng.uniform(-3, 3, num),
        bbox_px=np.hstack([top_left, top_left + rng.uniform(20, 90, (num, 2))]),
        size_m=rng.uniform(1, 4, (num, 3)),
        location_m=rng.normal(0, 20, (num, 3)),
        yaw_rad=rng.uniform(-3, 3, num),
        score=rng.random(num) ** 8,
    )


def test_written_results_read_back_bit_by_bit_and_evaluate_alike(tmp_path):
    detections = random_detections()
    write_kitti_results(tmp_path / "new" / "results", detections)
    read = read_kitti_results(tmp_path / "new" / "results", detections.frame_ids)
    assert_equal(read, detections)
    truth = random_detections()
    assert evaluate_kitti(truth, read).ap_percent() == evaluate_kitti(truth, detections).ap_percent()
    first = (tmp_path / "new" / "results" / "000000.txt").read_text().splitlines()[0].split()
    assert first[1:3] == ["-1", "-1"]
    assert len(first) == 16


def test_writing_replaces_old_files_and_writes_empty_frames(tmp_path):
    (tmp_path / "000000.txt").write_text("old")
    empty = random_detections(num=0, frames=2)
    write_kitti_results(tmp_path, empty)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"000000.txt": "", "000001.txt": ""}


def test_values_that_are_not_finite_are_not_written(tmp_path):
    detections = random_detections()
    row = 150
    frame = detections.frame_ids[np.searchsorted(detections.frame_start, row, side="right") - 1]
    score = detections.score.copy()
    score[row] = np.nan
    with pytest.raises(ValueError, match=rf"frame {frame}: score of a {detections.name[row]} is nan"):
        write_kitti_results(tmp_path / "results", replace(detections, score=score))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["traffic cone", "", "a\tb"])
def test_a_class_that_would_not_read_back_is_not_written(tmp_path, name):
    detections = random_detections(num=1, frames=1)
    with pytest.raises(ValueError, match="cannot be written to a result file: a class is one word"):
        write_kitti_results(tmp_path / "results", replace(detections, name=np.array([name])))
    assert not (tmp_path / "results").exists()


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    def fill_up(path, content):
        with path.open("wb") as file:
            file.write(content[:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(OSError, match=r"No space left on device: .*000000.txt"):
        write_kitti_results(tmp_path, random_detections())
    assert list(tmp_path.iterdir()) == []


def test_frames_taken_apart_and_joined_are_the_same():
    detections = random_detections(1)
    parts = [detections.frame(i) for i in range(len(detections.frame_ids))]
    assert [len(part) for part in parts] == np.diff(detections.frame_start).tolist()
    assert_equal(join_frames(parts), detections)
    assert_equal(join_frames([detections]), detections)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.zeros(3)}, r"score has shape \(3,\), but there are 200 names"),
        ({"bbox_px": np.zeros((200, 5))}, r"bbox_px has shape \(200, 5\)"),
        ({"frame_start": np.array([0, 200])}, "frame_start must rise from 0 to 200 in 20 steps"),
        ({"frame_start": np.array([0, 50, 40] + [200] * 18)}, "frame_start must rise"),
        ({"frame_start": np.array([0] * 20 + [199])}, "frame_start must rise"),
    ],
)
def test_columns_must_fit_together(change, message):
    with pytest.raises(ValueError, match=message):
        replace(random_detections(), **change)


@pytest.mark.real
def test_all_real_labels_equal_a_plain_parse(kitti_root):
    folder = kitti_root / "training" / "label_2"
    frame_ids = list_frame_ids(folder)
    objects = read_kitti_labels(folder, frame_ids)
    lines = [line.split() for i in frame_ids for line in (folder / f"{i}.txt").read_text().splitlines()]
    assert len(frame_ids) == 7481
    assert objects.name.tolist() == [line[0] for line in lines]
    numbers = np.column_stack([getattr(objects, column) for column in objects.columns()[1:-1]])
    np.testing.assert_array_equal(numbers, [[float(word) for word in line[1:]] for line in lines])
    assert (objects.name == "Car").sum() == 28742  # the number of cars in the published training set
