"""A loss goes into any config that takes it, with what belongs to it; everything else is one line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from lidar_rank.cli import main
from lidar_rank.mm import running
from lidar_rank.mm.configs import load_config

from .conftest import CONFIGS

SMALL = CONFIGS / "second" / "second_kitti-car_small.py"


def write(folder: Path, text: str, base: Path = SMALL) -> str:
    path = folder / "mine.py"
    path.write_text(f'_base_ = ["{base}"]\n{text}\n')
    return str(path)


def test_a_loss_brings_its_settings_and_its_hook():
    dr, rankdet = load_config(str(SMALL), "dr"), load_config(str(SMALL), "rankdet")
    assert dr.model.bbox_head.loss_cls == {"type": "lidar_rank.DRLoss", "loss_weight": 0.1}
    assert dr.model.bbox_head.prior_prob == 0.5
    assert dr.work_dir == "work_dirs/second_kitti-car_small_dr"
    own = load_config(str(SMALL))
    assert own.work_dir == "work_dirs/second_kitti-car_small"
    assert [hook.type for hook in rankdet.custom_hooks[:-1]] == [hook.type for hook in own.custom_hooks]
    assert rankdet.custom_hooks[-1].type == "lidar_rank.WarmUpHook"
    coco = load_config(str(CONFIGS / "retinanet" / "retinanet_r50_fpn_1x_coco.py"), "ghm")
    assert coco.model.bbox_head.loss_bbox.loss_weight == 10
    assert coco.optim_wrapper.clip_grad.max_norm == 35
    assert not [key for key in (*own, *dr, *coco) if key.startswith("loss_")], "the other losses are not logged"


def test_losses_of_different_parts_are_joined():
    joined = load_config(str(SMALL), "rankdet+box-iou+iou-branch")
    rankdet, boxes, branch = (load_config(str(SMALL), name) for name in ("rankdet", "box-iou", "iou-branch"))
    assert joined.model.bbox_head == {
        **rankdet.model.bbox_head,
        "loss_bbox": boxes.model.bbox_head.loss_bbox,
        "iou_branch": branch.model.bbox_head.iou_branch,
    }
    assert joined.custom_hooks == rankdet.custom_hooks
    assert joined.work_dir == "work_dirs/second_kitti-car_small_rankdet+box-iou+iou-branch"
    with pytest.raises(ValueError, match=r"the losses ap and rankdet both set model\.bbox_head\.loss_cls\.type: join "):
        load_config(str(SMALL), "ap+box-iou+rankdet")
    with pytest.raises(ValueError, match="the losses diou and box-iou both set model"):
        load_config(str(SMALL), "diou+box-iou")
    with pytest.raises(ValueError, match="the losses rankdet and rankdet both set model"):
        load_config(str(SMALL), "rankdet+rankdet")
    with pytest.raises(ValueError, match="does not take the loss 'rank': it takes"):
        load_config(str(SMALL), "rank+box-iou")


def test_options_come_after_the_loss():
    cfg = load_config(str(SMALL), "dr", {"model.bbox_head.loss_cls.neg_temperature": 0.05})
    assert cfg.model.bbox_head.loss_cls == {"type": "lidar_rank.DRLoss", "loss_weight": 0.1, "neg_temperature": 0.05}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("modle.bbox_head.loss_cls.loss_weight", "no setting modle; did you mean model?"),
        ("spam", "no setting spam, it has model, .*, optim_wrapper"),
        ("loss_dr.model.bbox_head.loss_cls.loss_weight", "no effect: other settings were made from loss_dr"),
        ("voxel_size", "no effect: other settings were made from voxel_size"),
        ("model.test_cfg.score_th", "no score_th; did you mean score_thr?"),
        ("model.bbox_hed.loss_cls.loss_weight", "no bbox_hed; did you mean bbox_head?"),
        ("param_scheduler.0.etamax", "no etamax; did you mean eta_max?"),
        ("custom_hooks.9.begin", "no 9, the list has 0 to 1$"),
        ("optim_wrapper.optimizer.lr", r"no effect: OneCycleLR .* param_scheduler\.0\.eta_max, which is 0\.003"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(option, message):
    with pytest.raises(ValueError, match=f"--cfg-options {re.escape(option)}=.*{message}"):
        load_config(str(CONFIGS / "second" / "second_kitti-car_tiny.py"), options={option: 1})


def test_a_schedule_may_be_one_and_replace_the_rate_all_the_same(tmp_path):
    one = 'param_scheduler = dict(_delete_=True, type="{}", eta_max=0.1, total_steps=3)'
    rate = {"optim_wrapper.optimizer.lr": 1e-3}
    other = write(tmp_path, one.format("CosineAnnealingLR"))
    assert load_config(other, options=rate).optim_wrapper.optimizer.lr == 1e-3
    cycle = write(tmp_path, one.format("OneCycleLR"))
    with pytest.raises(ValueError, match=r"param_scheduler\.eta_max, which is 0\.1"):
        load_config(cycle, options=rate)


def test_options_may_set_what_a_config_leaves_out():
    options = {"randomness.seed": 3, "sync_bn": 1, "model.test_cfg.nms_thr_far": 0.2, "model.new.part": 4}
    cfg = load_config(str(CONFIGS / "second" / "second_kitti-car_tiny.py"), options=options)
    assert (cfg.randomness.seed, cfg.sync_bn, cfg.model.test_cfg.nms_thr_far, cfg.model.new.part) == (3, 1, 0.2, 4)


def test_a_config_elsewhere_takes_the_losses_of_the_one_it_inherits(tmp_path):
    path = write(tmp_path, "train_dataloader = dict(batch_size=8)\nloss_dr = dict(model=dict(bbox_head=dict(a=1)))")
    cfg = load_config(path, "dr")
    assert cfg.train_dataloader.batch_size == 8
    assert cfg.model.bbox_head.a == 1, "it may change them"
    assert cfg.model.bbox_head.loss_cls.type == "lidar_rank.DRLoss"
    assert cfg.work_dir == "work_dirs/mine_dr"
    assert load_config(write(tmp_path, 'work_dir = "elsewhere"'), "dr").work_dir == "elsewhere_dr"


def test_a_loss_inside_a_config_is_what_the_command_puts_in(tmp_path):
    hooks = "custom_hooks = [*_base_.custom_hooks, *_base_.loss_rankdet.custom_hooks]"
    inside = load_config(write(tmp_path, f"model = _base_.loss_rankdet.model\n{hooks}"))
    put_in = load_config(str(SMALL), "rankdet")
    for key in ("model", "custom_hooks", "optim_wrapper"):
        assert inside[key] == put_in[key]
    options = 'model = _base_.loss_rankdet.model\nmodel.bbox_head.loss_cls.end.update(mining="ohem")'
    changed = load_config(write(tmp_path, options)).model.bbox_head.loss_cls
    end = {"type": "lidar_rank.RankDetLoss", "loss_weight": 0.1, "iou_weight": 10.0, "mining": "ohem"}
    assert changed == {**put_in.model.bbox_head.loss_cls, "end": end}
    other = load_config(inside.filename, "dr")
    dr = load_config(str(SMALL), "dr").model.bbox_head.loss_cls
    assert other.model.bbox_head.loss_cls == dr, "the command replaces what stands there"


def test_a_host_config_takes_a_loss_that_it_inherits_from_its_file(tmp_path):
    base = "mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-car.py"
    path = tmp_path / "stock.py"
    path.write_text(f'_base_ = ["{base}", "{CONFIGS}/_base_/losses/dr.py"]\n')
    assert load_config(str(path), "dr").model.bbox_head.loss_cls == {"type": "lidar_rank.DRLoss"}


def test_a_loss_that_does_not_fit_is_refused_with_those_that_do(tmp_path):
    ssd = str(CONFIGS / "ssd" / "ssd300_coco.py")
    with pytest.raises(
        ValueError, match=r"ssd300_coco\.py does not take the loss 'dr': it takes iou-balanced, iou-balanced-paper$"
    ):
        load_config(ssd, "dr")
    taken = "alrp, alrp-paper, ap, .*, dr, dr-after-focal, dr-paper, focal, "
    with pytest.raises(ValueError, match=f"does not take the loss 'd': it takes {taken}"):
        load_config(str(SMALL), "d")
    path = tmp_path / "none.py"
    path.write_text("loss_weight = 2.0\nmodel = dict()\n")
    with pytest.raises(ValueError, match=r"none\.py does not take the loss 'weight': it takes none"):
        load_config(str(path), "weight")


def test_a_loss_inherited_twice_is_one_error_that_says_what_to_do(tmp_path):
    path = tmp_path / "twice.py"
    path.write_text(f'_base_ = ["{SMALL}", "{CONFIGS}/_base_/losses/dr.py"]\n')
    with pytest.raises(ValueError, match=r"same loss \(.*loss_dr.*\)\. .*: leave the file of the loss out and write"):
        load_config(str(path))


@pytest.mark.parametrize("tool", ["train.py", "test.py"])
def test_tools_refuse_a_wrong_loss_without_the_host(tool, tmp_path):
    """A broken mmengine shows that nothing of the host was imported."""
    (tmp_path / "mmengine.py").write_text("raise AssertionError")
    words = [str(SMALL), "weights.pth"] if tool == "test.py" else [str(SMALL)]
    command = [sys.executable, str(CONFIGS.parent / "tools" / tool), *words, "--loss", "typo"]
    path = f"{tmp_path}:{CONFIGS.parent}"
    done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "does not take the loss 'typo': it takes alrp, alrp-paper, ap, " in done.stderr
    assert done.stderr.count("\n") == 1


def test_command_passes_the_loss_on(monkeypatch, tmp_path):
    calls, checkpoint = [], tmp_path / "weights.pth"
    checkpoint.touch()
    monkeypatch.setattr(running, "train", lambda *_, loss, **__: calls.append(loss))
    monkeypatch.setattr(running, "test", lambda *_, loss, **__: calls.append(loss))
    assert main(["train", str(SMALL), "--loss", "ap"]) == 0
    assert main(["test", str(SMALL), str(checkpoint), "--loss", "ap"]) == 0
    assert calls == ["ap", "ap"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("package.py", '_base_ = ["mypackage::base.py"]'),
        ("computed.py", "_base_ = [name + '.py' for name in ('a', 'b')]"),
        ("mine.json", '{"_base_": "other.py"}'),
    ],
)
def test_names_that_the_text_does_not_show_are_left_to_the_host(name, text, monkeypatch, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    called = []
    monkeypatch.setattr(running, "train", lambda *_, loss, **__: called.append(loss))
    assert main(["train", str(path), "--loss", "mine"]) == 0
    assert called == ["mine"]


BLEND = """
focal, rankdet = dict(type="lidar_rank.SigmoidFocalLoss"), dict(type="lidar_rank.RankDetLoss")
blend = dict(_delete_=True, type="lidar_rank.BlendLoss", start=focal, end=rankdet)
model = dict(bbox_head=dict(loss_cls=blend))
"""


def test_a_blend_that_no_hook_moves_is_refused_before_the_first_step(small_config, brief, tmp_path):
    path = write(tmp_path, BLEND, base=Path(small_config))
    with pytest.raises(ValueError, match=r"model\.bbox_head\.loss_cls is a lidar_rank\.BlendLoss that no hook moves"):
        running.train(path, work_dir=str(tmp_path / "w"), options=brief)


def test_a_hook_that_derives_from_ours_moves_a_blend(tmp_path):
    from lidar_rank.mm.configs import check_warm_up
    from lidar_rank.mm.hooks import WarmUpHook
    from lidar_rank.mm.registry import HOOKS

    class Slower(WarmUpHook):
        """A user's own."""

    HOOKS.register_module(module=Slower, force=True)
    cfg = Config.fromfile(write(tmp_path, BLEND))
    for hook in ({"type": "lidar_rank.Slower"}, {"type": Slower}, Slower()):
        check_warm_up(Config({"model": cfg.model, "custom_hooks": [{"type": "NumClassCheckHook"}, hook]}))
