"""Machine code of the kernels: kept on disk where there is a place for it, compiled anew where there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lidar_rank

CALL = """
import numpy as np
from lidar_rank.kernels.points_in_boxes import points_in_boxes
print(points_in_boxes(np.zeros((1, 3)), np.array([[0, 0, -1, 2, 2, 2, 0.0]])).tolist())
"""


@pytest.fixture
def installed_by_root(tmp_path: Path) -> Path:
    """A copy of the package that nobody may write to, beside a home that nobody may write to."""
    for folder in ("kernels", "."):
        target = tmp_path / "site-packages" / "lidar_rank" / folder
        target.mkdir(parents=True, exist_ok=True)
        for source in (Path(lidar_rank.__file__).parent / folder).glob("*.py"):
            shutil.copy(source, target)
    (tmp_path / "home").mkdir()
    (tmp_path / "writable").mkdir()
    for folder in (*(tmp_path / "site-packages").rglob("*"), tmp_path / "home"):
        if folder.is_dir():
            folder.chmod(0o555)
    return tmp_path


def call_a_kernel(folder: Path, code: str = CALL, **variables: str) -> subprocess.CompletedProcess:
    """Run a kernel of the copy as a user whom the file permissions bind; for root that means without its privilege."""
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("permissions do not bind root, and there is no setpriv to give its privilege up")
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    variables = {"HOME": str(folder / "home"), "PATH": os.environ["PATH"], **variables}
    variables["PYTHONPATH"] = str(folder / "site-packages")
    return subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)


def test_kernel_runs_where_neither_the_package_nor_the_home_can_be_written_to(installed_by_root):
    done = call_a_kernel(installed_by_root)
    assert done.stdout == "[[True]]\n", done.stderr


def test_cache_lies_in_the_folder_of_the_user(installed_by_root):
    done = call_a_kernel(installed_by_root, XDG_CACHE_HOME=str(installed_by_root / "writable"))
    assert done.stdout == "[[True]]\n", done.stderr
    assert list((installed_by_root / "writable").rglob("points_in_boxes*.nbc"))
    assert not list((installed_by_root / "site-packages").rglob("*.nbc"))


def test_full_disk_does_not_stop_a_kernel(installed_by_root):
    no_room = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    cache = installed_by_root / "writable"
    done = call_a_kernel(installed_by_root, no_room + CALL, XDG_CACHE_HOME=str(cache))
    assert done.stdout == "[[True]]\n", done.stderr
    assert not list(cache.rglob("*.nbc"))
