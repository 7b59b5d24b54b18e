"""Our operators and mmcv's compiled ones side by side: on more cases than are recorded, and in whole trainings.

Where this Python has no compiled mmcv, one is compiled for it, once, in an environment of its own: 10 to 30 minutes.
"""

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from lidar_rank.mm.ops import SETTING, OwnOperators

from ...conftest import CACHE
from ..conftest import CONFIGS
from ..images import voc_root
from ..test_2d_configs import tiny
from .cases import call
from .record import load
from .test_operators import check_equal

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def run(python: Path, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [python, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with compiled mmcv and everything that this one has."""
    if has_compiled(Path(sys.executable)):
        return Path(sys.executable)
    folder = CACHE / f"mmcv-{version('mmcv-lite')}-torch-{torch.__version__}-python-{sysconfig.get_python_version()}"
    python = folder / "bin" / "python"
    if not has_compiled(python):
        run(Path(sys.executable), "-m", "venv", "--clear", "--without-pip", str(folder))  # this Python's pip builds
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "everything_else.pth").write_text(sysconfig.get_paths()["purelib"])
        build = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-binary", "mmcv"]
        run(python, "-m", "pip", "install", *build, f"mmcv=={version('mmcv-lite')}", MMCV_WITH_OPS="1")
    return python


def has_compiled(python: Path) -> bool:
    test = "import torch, mmcv._ext"
    return python.exists() and not subprocess.run([python, "-c", test], capture_output=True, check=False).returncode


def test_every_case_of_many_seeds(python, tmp_path):
    run(python, "-m", "tests.mm.ops.record", str(tmp_path / "answers.npz"), "--seeds", "20")
    own = OwnOperators()
    for case, answers in load(tmp_path / "answers.npz"):
        check_equal(case, answers, call(own, case), atol=0)


def trained(python: Path, operators: str, config: Path | str, options: dict, work_dir: Path) -> dict[str, torch.Tensor]:
    """Weights after a training with these operators."""
    program = (
        "import ast, sys; from lidar_rank.mm.running import train;"
        "train(sys.argv[1], work_dir=sys.argv[2], seed=0, options=ast.literal_eval(sys.argv[3]))"
    )
    run(python, "-c", program, str(config), str(work_dir), repr(options), **{SETTING: operators})
    (checkpoint,) = work_dir.glob("epoch_*.pth")
    return torch.load(checkpoint, weights_only=False)["state_dict"]


def check_trains_the_same(python: Path, config: Path | str, options: dict, folder: Path) -> None:
    own, compiled = (trained(python, operators, config, options, folder / operators) for operators in ("own", "mmcv"))
    torch.testing.assert_close(own, compiled, rtol=1e-5, atol=1e-6)


def test_second_learns_the_same_weights(python, small_config, brief, tmp_path):
    options = {
        **brief,
        "train_cfg.max_epochs": 10,
        "train_cfg.val_interval": 10,
        "default_hooks.checkpoint.interval": 10,
    }
    check_trains_the_same(python, small_config, options, tmp_path)


def test_faster_rcnn_learns_the_same_weights(python, monkeypatch, tmp_path):
    boxes = [(10, 12, 60, 70), (90, 20, 190, 96)]
    objects = {"a": [("RBC", *boxes[0]), ("WBC", *boxes[1])], "b": [("Platelets", *boxes[0])]}
    monkeypatch.setenv("BCCD_ROOT", str(voc_root(tmp_path / "bccd", objects)))
    config = CONFIGS / "faster_rcnn" / "faster-rcnn_r18_small_bccd.py"
    options = {**tiny(config, validated=True), "train_cfg.max_epochs": 8, "train_cfg.val_interval": 8}
    check_trains_the_same(python, config, {**options, "default_hooks.checkpoint.interval": 8}, tmp_path)
