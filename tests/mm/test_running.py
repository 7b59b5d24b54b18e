"""Training and testing of configs, start to end, on simulated scans."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lidar_rank import runs
from lidar_rank.cli import main
from lidar_rank.mm import optim, running
from lidar_rank.mm.configs import load_config
from lidar_rank.mm.predicting import load_detector
from lidar_rank.mm.registry import MODELS

from .toys import STEPS_PER_EPOCH, ToyModel, write_config


def weights(work_dir: Path, epoch: int = 2) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / f"epoch_{epoch}.pth", map_location="cpu")["state_dict"]


def scalars(work_dir: Path) -> list[dict]:
    (log,) = work_dir.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_train_logs_losses_and_ap_and_keeps_the_best(small_config, brief, tmp_path):
    running.train(small_config, work_dir=str(tmp_path), options=brief)
    rows = scalars(tmp_path)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 4
    assert all(loss > 0 for loss in losses)
    validation = [row for row in rows if "kitti/Car/3d/R40/moderate" in row]
    assert len(validation) == 1
    assert 0 <= validation[0]["kitti/Car/3d/R40/moderate"] <= 100
    assert len(list(tmp_path.glob("best_kitti_Car_3d_R40_moderate_epoch_2.pth"))) == 1
    assert list(tmp_path.glob("*/vis_data/events.out.tfevents*"))


def test_resumed_run_equals_an_uninterrupted_run(small_config, brief, tmp_path):
    brief["train_dataloader.num_workers"] = 1  # it starts anew, with a seed of its own, at every epoch
    running.train(small_config, work_dir=str(tmp_path / "whole"), options=brief)
    (tmp_path / "parts").mkdir()
    checkpoint = shutil.copy(tmp_path / "whole" / "epoch_1.pth", tmp_path / "parts")
    (tmp_path / "parts" / "last_checkpoint").write_text(str(checkpoint))
    running.train(small_config, work_dir=str(tmp_path / "parts"), options=brief, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    first = weights(tmp_path / "whole", epoch=1)
    assert any((whole[name] != first[name]).any() for name in whole), "the second epoch changed nothing"
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-6, msg=name)


def test_seed_changes_the_run(small_config, brief, tmp_path):
    brief["train_cfg.max_epochs"] = 1
    for seed in (0, 1):
        running.train(small_config, work_dir=str(tmp_path / str(seed)), options=brief, seed=seed)
    name = "bbox_head.conv_cls.weight"
    assert (weights(tmp_path / "0", 1)[name] != weights(tmp_path / "1", 1)[name]).any()


def test_test_command_writes_result_files_that_evaluate_to_the_same_ap(
    small_config, brief, tmp_path, simulated_root, capsys
):
    running.train(small_config, work_dir=str(tmp_path / "w"), options=brief)
    # An untrained detector finds nothing above 0.1: let every box through.
    options = {"model.test_cfg.score_thr": 0.0, "test_evaluator.point_cloud_range": None}
    metrics = running.test(
        small_config, str(tmp_path / "w" / "epoch_2.pth"), out=str(tmp_path / "out"), options=options
    )
    files = sorted(path.stem for path in (tmp_path / "out").glob("*.txt"))
    assert files == (simulated_root / "ImageSets" / "val.txt").read_text().split()
    labels, out = simulated_root / "training" / "label_2", tmp_path / "out"
    command = ["evaluate", str(labels), str(out), "--split", str(simulated_root / "ImageSets" / "val.txt")]
    assert main([*command, "--classes", "Car", "--json", str(tmp_path / "ap.json")]) == 0
    assert "Car 3d @0.7" in capsys.readouterr().out
    ap = json.loads((tmp_path / "ap.json").read_text())
    assert ap["Car"]["bbox"]["R40"] == pytest.approx(
        [metrics[f"kitti/Car/bbox/R40/{d}"] for d in ("easy", "moderate", "hard")]
    )


def test_mixed_precision_trains_and_says_where_it_is_slow(small_config, brief, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(optim, "multiplies_bfloat16", lambda: False)
    brief["train_cfg.max_epochs"] = 1
    running.train(small_config, work_dir=str(tmp_path), options=brief, amp=True)
    told = capsys.readouterr()
    assert "this CPU has no arithmetic for bfloat16" in told.out + told.err
    losses = [row["loss"] for row in scalars(tmp_path) if "loss" in row]
    assert all(torch.isfinite(torch.tensor(losses)))


def test_missing_config_checkpoint_or_data_is_one_clear_error(small_config, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no config at nowhere\.py"):
        running.train("nowhere.py")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at nowhere\.pth"):
        running.test(small_config, "nowhere.pth")
    monkeypatch.setenv("KITTI_ROOT", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent: .*lidar-rank simulate .* create-data .*absent"):
        running.train(small_config, work_dir=str(tmp_path))


def test_checkpoint_of_another_model_is_refused(small_config, brief, tmp_path):
    other = {"state_dict": {"bbox_head.conv_cls.weight": torch.zeros(6, 512, 1, 1)}, "meta": {}}
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth is not of this config's model"):
        running.test(small_config, str(tmp_path / "other.pth"), work_dir=str(tmp_path))
    brief["load_from"] = str(tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"have another shape, .* Give the config"):
        running.train(small_config, work_dir=str(tmp_path / "w"), options=brief)


def test_part_that_a_test_would_leave_out_is_named_and_a_training_may_leave_it_out(small_config, brief, tmp_path):
    branch = MODELS.build(load_config(small_config, "iou-branch").model)
    torch.save({"state_dict": branch.state_dict(), "meta": {}}, tmp_path / "branch.pth")
    named = r"branch\.pth .* of parts that the model lacks; bbox_head\.iou_branch\.\S+ needs nothing, .* --loss"
    with pytest.raises(ValueError, match=named):
        running.test(small_config, str(tmp_path / "branch.pth"), work_dir=str(tmp_path))
    with pytest.raises(ValueError, match=named):
        load_detector(small_config, tmp_path / "branch.pth")
    brief |= {"train_cfg.max_epochs": 1, "load_from": str(tmp_path / "branch.pth")}
    running.train(small_config, work_dir=str(tmp_path / "w"), options=brief)


def test_config_without_validation_and_environment_trains(tmp_path):
    running.train(write_config(tmp_path), work_dir=str(tmp_path / "w"))
    assert (tmp_path / "w" / "epoch_4.pth").is_file()


def fail_at(step: int):
    """A forward of the toy model that finds bad input at a step."""
    forward, steps = ToyModel.forward, []

    def failing(self, inputs, mode):
        steps.append(0)
        if len(steps) == step:
            raise ValueError("scan 000123 is broken")
        return forward(self, inputs, mode)

    return failing


def test_error_after_the_first_step_leaves_its_traceback_in_the_log_and_on_the_console(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ToyModel, "forward", fail_at(STEPS_PER_EPOCH + 2))
    assert main(["train", write_config(tmp_path), "--work-dir", str(tmp_path / "w")]) == 1
    (log,) = (tmp_path / "w").glob("*/*.log")
    console, last_line = capfd.readouterr()
    for text in (log.read_text(), console):
        assert text.count("Traceback (most recent call last)") == 1
        assert "in failing" in text
        assert "ValueError: scan 000123 is broken" in text
    assert last_line == f"lidar-rank train: ValueError after {STEPS_PER_EPOCH + 1} steps; its traceback is in {log}\n"


def test_error_before_the_end_of_the_first_step_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ToyModel, "forward", fail_at(1))
    assert main(["train", write_config(tmp_path), "--work-dir", str(tmp_path / "w")]) == 2
    assert capfd.readouterr().err == "lidar-rank train: scan 000123 is broken\n"


def test_cause_of_a_stopped_training_is_its_error(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyModel, "forward", fail_at(3))
    with pytest.raises(runs.TrainingError, match="after 2 steps") as stop:
        running.train(write_config(tmp_path), work_dir=str(tmp_path / "w"))
    assert isinstance(stop.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            'dataset=dict(data_root="{{$TOY_ROOT:data/toys}}/", ann_file="a.json")',
            r"elsewhere/a\.json, which does not exist\. Name another root with TOY_ROOT=DIR$",
        ),
        (
            'dataset=dict(dataset=dict(datasets=[dict(data_root="{{$TOY_ROOT:data/toys}}", ann_file="a.json")]))',
            r"elsewhere/a\.json, which does not exist\. Name another root with TOY_ROOT=DIR$",
        ),
        (
            'dataset=dict(data_root="{{$OTHER_ROOT:data/other}}", ann_file="b.pkl")',
            r"no folder data/other: put KITTI there.* create-data data/other'; or name another .* OTHER_ROOT=DIR$",
        ),
        (
            'dataset=dict(data_root="{{$OTHER_ROOT:/}}", ann_file="b.pkl")',
            r"Prepare the data set with 'lidar-rank create-data /', or name another root with OTHER_ROOT=DIR$",
        ),
        (
            'dataset=dict(data_root="data/coco/", ann_file="c.json")',
            r"train_dataloader needs data/coco/c\.json, .*\. Put the data set, or a link to it, at data/coco/$",
        ),
    ],
)
def test_missing_data_names_the_variable_of_the_config(data, message, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_ROOT", "elsewhere")
    config = write_config(tmp_path, f"train_dataloader = dict({data})")
    with pytest.raises(FileNotFoundError, match=message):
        running.train(config, work_dir=str(tmp_path / "w"))


def test_config_without_a_test_set_is_refused(tmp_path):
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ValueError, match=r"toy\.py has no test_dataloader"):
        running.test(write_config(tmp_path), str(tmp_path / "weights.pth"))


@pytest.mark.slow
def test_run_killed_in_the_middle_of_an_epoch_resumes_to_the_same_weights(small_config, brief, tmp_path):
    brief["train_dataloader.dataset.times"] = 3
    running.train(small_config, work_dir=str(tmp_path / "whole"), options=brief)

    options = [f"{key}={value}" for key, value in brief.items()]
    command = [sys.executable, "-m", "lidar_rank.cli", "train", small_config]
    command += ["--work-dir", str(tmp_path / "killed"), "--cfg-options", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})
    for line in process.stdout:
        if re.search(r"Epoch\(train\)\s+\[2\]\[2/6\]", line):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL
    time.sleep(1)
    assert not (tmp_path / "killed" / "epoch_2.pth").exists()

    running.train(small_config, work_dir=str(tmp_path / "killed"), options=brief, resume=True)
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name in whole:
        torch.testing.assert_close(killed[name], whole[name], rtol=1e-4, atol=1e-6, msg=name)
