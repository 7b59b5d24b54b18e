"""Where a training starts: the weights that come with the package, those that a config names, or the run to resume."""

import pytest
import torch

from lidar_rank.mm import running
from lidar_rank.mm.checkpoints import read_weights
from lidar_rank.weights import find_shipped

from .conftest import CONFIGS

TINY = str(CONFIGS / "second" / "second_kitti-car_tiny.py")


@pytest.fixture
def start(monkeypatch, simulated_root, tmp_path, brief):
    """Give the runner with the weights and the epoch that a training would begin with."""
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    runners = []
    monkeypatch.setattr(running, "_train", runners.append)

    def run(config: str = TINY, **options):
        own = {**brief, **options.pop("options", {})}
        running.train(config, work_dir=str(tmp_path / "work"), options=own, **options)
        (runner,) = runners
        runners.clear()
        runner.train_loop  # noqa: B018 - built by looking at it, as Runner.train does before it loads
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.load_or_resume()
        return runner

    return run


def first_weight(runner) -> torch.Tensor:
    return runner.model.state_dict()["bbox_head.conv_cls.weight"]


@pytest.mark.parametrize("named", ["init", "load_from"])
def test_a_shipped_model_is_what_the_training_starts_from(named, start):
    """The host rearranged the weights of sparse convolutions in a safetensors file that load_from names."""
    weights = find_shipped("second-car-tiny").weights
    saved = read_weights(weights)
    given = {"init": "second-car-tiny"} if named == "init" else {"options": {"load_from": str(weights)}}
    own = start(**given).model.state_dict()
    assert set(saved) <= set(own)
    for name, value in saved.items():
        torch.testing.assert_close(own[name], value.to(own[name].dtype), rtol=0, atol=0)


def test_weights_of_another_network_or_number_of_classes_are_refused(start):
    message = (
        r"checkpoint second-car-tiny is not of this config's model.*--init second-car-tiny needs a config on top of"
    )
    with pytest.raises(ValueError, match=message):
        start(str(CONFIGS / "second" / "second_kitti-car_small.py"), init="second-car-tiny")
    message = r"second-car-tiny has 1 \(Car\), and this config 3 \(Pedestrian, Cyclist, Car\)"
    with pytest.raises(ValueError, match=message):
        start(str(CONFIGS / "second" / "second_kitti-3class_small.py"), init="second-car-tiny")
    with pytest.raises(ValueError, match=r"no model 'second-van' comes with the package, which has .*second-car-tiny"):
        start(init="second-van")


@pytest.mark.parametrize("named", ["init", "load_from"])
def test_a_resumed_run_goes_on_instead_of_starting_from_other_weights_again(named, start, tmp_path):
    """mmengine took load_from for the checkpoint of the run to resume."""
    kept = {"save_optimizer": False, "save_param_scheduler": False}
    start().save_checkpoint(str(tmp_path), "other.pth", **kept)
    given = {"init": "second-car-tiny"} if named == "init" else {"options": {"load_from": str(tmp_path / "other.pth")}}
    begun = start(resume=True, **given)
    assert begun.epoch == 0, "there is no run to resume yet"
    with torch.no_grad():
        first_weight(begun).fill_(7.0)
    begun.save_checkpoint(str(tmp_path / "work"), "epoch_1.pth", **kept)
    (tmp_path / "work" / "last_checkpoint").write_text(str(tmp_path / "work" / "epoch_1.pth"))
    assert (first_weight(start(resume=True, **given)) == 7.0).all()


def test_a_resumed_run_keeps_the_state_of_its_losses_and_another_measures_anew(start, tmp_path):
    """The factor of w_loc="auto" is that of the first batch, which depends on how good the boxes are then."""
    begun = start(loss="iou-balanced")
    begun.model.bbox_head.loss_bbox.w_auto.fill_(5.0)
    kept = {"save_optimizer": False, "save_param_scheduler": False}
    begun.save_checkpoint(str(tmp_path), "other.pth", **kept)
    other = start(loss="iou-balanced", options={"load_from": str(tmp_path / "other.pth")})
    assert other.model.bbox_head.loss_bbox.w_auto == 0
    begun.save_checkpoint(str(tmp_path / "work"), "epoch_1.pth", **kept)
    (tmp_path / "work" / "last_checkpoint").write_text(str(tmp_path / "work" / "epoch_1.pth"))
    assert start(loss="iou-balanced", resume=True).model.bbox_head.loss_bbox.w_auto == 5
