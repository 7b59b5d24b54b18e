"""What a wheel holds, and that each part of the package runs with the packages of its extra alone."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lidar_rank
from lidar_rank import shapes
from lidar_rank.config_files import config_folder, find_config

ROOT = Path(__file__).parents[1]
OPTIONAL = {"torch", "numpy", "numba", "jaxtyping", "tqdm", "matplotlib", "scipy", "open3d", "mmengine"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("lidar_rank", "configs"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)]
    subprocess.run([sys.executable, *build], check=True)
    (file,) = out.glob("*.whl")
    return zipfile.ZipFile(file)


def test_wheel_holds_configs_licence_types_and_one_version(wheel):
    names = set(wheel.namelist())
    configs = {path.relative_to(config_folder()).as_posix() for path in config_folder().rglob("*.py")}
    assert {f"lidar_rank/configs/{name}" for name in configs} <= names
    assert "lidar_rank/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "configs/")) or "__pycache__" in name]
    dist_info = f"lidar_rank-{lidar_rank.__version__}.dist-info"
    assert b"Apache License" in wheel.read(f"{dist_info}/licenses/LICENSE")
    metadata = wheel.read(f"{dist_info}/METADATA").decode()
    for line in (f"Version: {lidar_rank.__version__}", "License-Expression: Apache-2.0", "# lidar_rank"):
        assert f"\n{line}\n" in metadata
    unconditional = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert unconditional == [], "each part asks for its own packages"


def test_configs_are_found_by_name_from_an_unpacked_wheel(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "from lidar_rank.config_files import find_config; print(find_config('second_kitti-car_small'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "lidar_rank/configs/second/second_kitti-car_small.py")


def test_names_of_configs_are_unique_and_a_wrong_one_lists_similar(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [path.stem for path in config_folder().glob("[!_]*/*.py")]
    assert len(names) == len(set(names))
    assert find_config("sassd_kitti-car").samefile(config_folder() / "sassd" / "sassd_kitti-car.py")
    with pytest.raises(FileNotFoundError, match=r"no config at second_kitti-cars: .*second_kitti-car, "):
        find_config("second_kitti-cars")
    Path("sassd_kitti-car").write_text("")
    with pytest.raises(ValueError, match="sassd_kitti-car is no config"):
        find_config("sassd_kitti-car")


def test_shape_annotations_are_real_in_tests():
    # Its plugin for pytest loads jaxtyping before anything of lidar_rank.
    assert shapes.Float is pytest.importorskip("jaxtyping").Float


def run_with(available: set[str], code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run code in a Python that lacks the optional packages that are not ``available``."""
    block = f"import sys\nfor name in {OPTIONAL - available}: sys.modules[name] = None\n"
    return subprocess.run([sys.executable, "-c", block + code], cwd=folder, capture_output=True, text=True, check=False)


def test_evaluation_runs_with_numpy_and_numba_alone(tmp_path):
    line = "Car 0.00 0 -1.57 500.00 150.00 600.00 220.00 1.50 1.60 4.00 1.00 1.70 20.00 -1.57"
    for folder, text in (("labels", line), ("results", f"{line} 0.9")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "000001.txt").write_text(text + "\n")
    words = [
        "evaluate",
        str(tmp_path / "labels"),
        str(tmp_path / "results"),
        "--classes",
        "Car",
        "--sampling",
        "recall",
    ]
    code = f"from lidar_rank.cli import main; sys.exit(main({words}))"
    done = run_with({"numpy", "numba"}, code, ROOT)
    assert done.returncode == 0, done.stderr
    assert "Car 3d @0.7" in done.stdout


def test_losses_run_with_torch_alone():
    code = """
import torch
from lidar_rank.losses import RankDetLoss
logits = torch.zeros(1, 4, 1, requires_grad=True)
RankDetLoss()(logits, torch.tensor([[0, 1, 1, 0]]), iou=torch.rand(1, 4)).backward()
"""
    done = run_with({"torch"}, "import warnings; warnings.simplefilter('ignore')\n" + code, ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["evaluate", ".", "."], "evaluation"),
        (["simulate", "out", "--scans", "2"], "simulation"),
        (["train", "second_kitti-car_small"], "mmdet3d"),
        (["create-data", "."], "mmdet3d"),
        (["report", "run.json"], "view"),
        (["view", "run.json"], "view"),
    ],
)
def test_command_says_which_extra_has_what_it_lacks(command, extra):
    done = run_with(set(), f"from lidar_rank.cli import main; sys.exit(main({command}))", ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith(f"lidar-rank {command[0]}: ")
    assert f"pip install 'lidar_rank[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1
