"""Every file that the package reads without the host: damaged at random, it gives a value or one clear line."""

import json
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.kitti import prepare_kitti, read_calibration, read_kitti_labels, read_kitti_results
from lidar_rank.kitti.files import read_png_size, read_points
from lidar_rank.kitti.infos import read_database_infos, read_image_sizes
from lidar_rank.kitti.labels import read_frame_ids
from lidar_rank.page import read_run
from tests.damage import check_reader
from tests.kitti.roots import CAR, IMAGE_SIZE, VAN, make_root
from tests.page.cases import run_of, scan_results

READERS = {
    "training/label_2/000002.txt": lambda path: read_kitti_labels(path.parent, [path.stem]),
    "results/000002.txt": lambda path: read_kitti_results(path.parent, [path.stem]),
    "ImageSets/train.txt": read_frame_ids,
    "training/calib/000000.txt": read_calibration,
    "training/velodyne/000000.bin": read_points,
    "training/image_2/000000.png": read_png_size,
    "kitti_infos_trainval.pkl": read_image_sizes,
    "kitti_dbinfos_train.pkl": read_database_infos,
    "analysis.json": read_run,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A prepared root, with results and a file of ``lidar-rank analyze``."""
    root = make_root(tmp_path, images=True)
    np.linspace(-9, 9, 32, dtype=np.float32).tofile(root / "training/velodyne/000000.bin")
    prepare_kitti(root, image_size=IMAGE_SIZE, jobs=1, progress=False)
    (root / "results").mkdir()
    (root / "results/000002.txt").write_text(f"{CAR} 0.5\n{VAN} 0.25\n")
    run = run_of(scan_results(root / "training", ["000000", "000002"]), metrics={"kitti/Car/3d/R40/moderate": 50.0})
    (root / "analysis.json").write_text(json.dumps(run.to_json()))
    return root


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, of names that damaged pickles ask for
def test_reading_a_damaged_file_gives_a_value_or_one_line_that_names_it(root, name):
    check_reader(READERS[name], root / name)
