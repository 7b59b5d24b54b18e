"""Configs of this project under mmdet3d's own scripts, and losses of this project under stock heads."""

import os
import subprocess
import sys
from pathlib import Path

import mmcv
import mmdet3d
import pytest
import torch
from mmdet3d.registry import MODELS

TRAIN = Path(mmdet3d.__file__).parent / ".mim" / "tools" / "train.py"


def test_config_trains_with_the_script_of_mmdet3d(small_config, tmp_path):
    options = [
        "train_cfg.max_epochs=1",
        "train_cfg.val_begin=2",
        "train_dataloader.batch_size=2",
        "train_dataloader.num_workers=0",
        "train_dataloader.dataset.times=1",
    ]
    # mmcv-lite has no operators, so that the host's script needs those of this project before its first import.
    start = "import runpy, sys, lidar_rank.mm; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    is_compiled = any(Path(mmcv.__file__).parent.glob("_ext*.so"))
    script = [str(TRAIN)] if is_compiled else ["-c", start, str(TRAIN)]
    command = [sys.executable, *script, small_config, "--work-dir", str(tmp_path), "--cfg-options", *options]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "epoch_1.pth").is_file()


@pytest.mark.parametrize("name", ["DRLoss", "GHMCLoss", "SmoothL1Loss", "GHMRLoss"])
def test_loss_says_what_to_do_where_a_stock_head_calls_it(name):
    loss = MODELS.build({"type": f"lidar_rank.{name}"})
    flat = torch.zeros(4, 1)
    with pytest.raises(ValueError, match=r"flattens the batch; use the head of scope lidar_rank"):
        loss(flat, flat, torch.ones(4, 1), avg_factor=2.0)
