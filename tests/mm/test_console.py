"""What a run shows on the console, and what goes to its log file alone."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.logging import MMLogger
from torch import nn

from lidar_rank.cli import main
from lidar_rank.mm import running
from lidar_rank.mm.console import _backend, show_less

from .toys import STEPS_PER_EPOCH, write_config

LINES = ["config", "loss", "model", "data", "schedule", "start", "backend", "device", "logs"]


def log_of(work_dir: Path) -> str:
    (log,) = work_dir.glob("*/*.log")
    return log.read_text()


def test_training_starts_with_ten_lines(tmp_path, capfd):
    config = write_config(tmp_path)
    assert main(["train", config, "--work-dir", str(tmp_path / "w"), "--seed", "3"]) == 0
    # Before them comes what is wrong, such as mmengine's warning that these data have no names of classes.
    start = capfd.readouterr().out.partition(": train toy\n")[2].splitlines()[: len(LINES)]
    told = dict(line.split(maxsplit=1) for line in start)
    assert list(told) == LINES
    assert told["config"] == config
    assert told["data"] == f"ToyData, {2 * STEPS_PER_EPOCH} samples to train"
    assert told["schedule"] == "12 steps of 2 samples, 3 to an epoch, SGD, seed 3"
    assert told["start"] == "random weights"
    assert told["device"].startswith(("cpu (", "cuda ("))
    assert told["logs"].startswith(str(tmp_path / "w"))


def test_slow_first_steps_with_spconv_triton_are_announced():
    layer = type("SubMConv3d", (nn.Module,), {"__module__": "spconv_triton.pytorch.conv"})
    assert _backend(layer()).startswith(
        "sparse convolution of spconv_triton (the first steps of the first run take minutes"
    )


def test_config_and_environment_are_in_the_log_file_alone(tmp_path, capfd):
    main(["train", write_config(tmp_path), "--work-dir", str(tmp_path / "w")])
    console, log = capfd.readouterr().out, log_of(tmp_path / "w")
    for text in ("System environment", "Config:", "Hooks will be executed"):
        assert text in log
        assert text not in console
    progress = [line for line in log.splitlines() if "Checkpoints will be saved" in line or "Saving checkpoint" in line]
    assert progress
    assert "Saving checkpoint" in console


def test_resumed_training_says_where_it_goes_on(tmp_path, capfd):
    config = write_config(tmp_path)
    words = ["train", config, "--work-dir", str(tmp_path / "w")]
    assert main([*words, "--cfg-options", "train_cfg.max_epochs=1"]) == 0
    capfd.readouterr()
    assert main([*words, "--resume"]) == 0
    assert f"goes on after step {STEPS_PER_EPOCH} of the run in {tmp_path / 'w'}" in capfd.readouterr().out


def test_numbers_of_the_table_are_in_the_log_file_alone(small_config, brief, tmp_path, capfd):
    brief["train_cfg.max_epochs"] = brief["train_cfg.val_interval"] = 1
    running.train(small_config, loss="dr", work_dir=str(tmp_path), options=brief)
    console, log = capfd.readouterr().out, log_of(tmp_path)
    number = "kitti/Car/3d/R40/moderate: "
    assert number in log
    assert number not in console
    assert "Car 3d @0.7" in console
    assert "dr: DRLoss (loss_cls)" in console
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    assert any("kitti/Car/3d/R40/moderate" in json.loads(line) for line in scalars.read_text().splitlines())

    running.test(small_config, str(tmp_path / "epoch_1.pth"), work_dir=str(tmp_path / "t"))
    console = capfd.readouterr().out
    assert ": test second_kitti-car_tiny\n" in console
    assert "2 samples to test\n" in console
    assert "Config:" not in console
    *_, last_row, note = console.rstrip().splitlines()
    assert "Car 3d @" in last_row or "Car aos" in last_row
    assert note.startswith("objects: those with x from 0 to 38.4 m")
    assert number not in console


def test_kitti_run_starts_without_open3d(small_config):
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
from lidar_rank.mm.configs import load_config
from mmengine.registry import VISUALIZERS, DefaultScope
import lidar_rank.mm.running
cfg = load_config({small_config!r})
DefaultScope.get_instance("run", scope_name=cfg.default_scope)
VISUALIZERS.build(dict(cfg.visualizer, name="run", save_dir={str(Path(small_config).parent)!r}))
print({{"open3d", "dash", "trimesh"}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_warnings_are_shown_while_a_run_starts(level, capfd):
    logger = MMLogger.get_instance("starting")
    show_less(logger)
    logger.log(level, "the disk is nearly full")
    logger.info("hooks")
    out = capfd.readouterr().out
    assert "nearly full" in out
    assert "hooks" not in out
