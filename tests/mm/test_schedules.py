"""Learning rates of resumed runs, against uninterrupted runs of the same config."""

import pytest
import torch

from lidar_rank.mm import running

from .toys import STEPS_PER_EPOCH, RecordRates, write_config


def one_cycle(epochs: int) -> str:
    return (
        f'param_scheduler = [dict(type="OneCycleLR", eta_max=0.3, total_steps={epochs}, by_epoch=True,'
        " convert_to_iter_based=True)]\n"
    )


def cosine(epochs: int) -> str:
    return f'param_scheduler = [dict(type="CosineAnnealingLR", T_max={epochs}, eta_min=1e-4, by_epoch=True)]\n'


def warm_up_and_steps(epochs: int) -> str:
    return f"""param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=4),
    dict(type="MultiStepLR", milestones=[1, {epochs - 1}], gamma=0.1, by_epoch=True),
    dict(type="CosineAnnealingMomentum", T_max={epochs}, eta_min=0.5, by_epoch=True, convert_to_iter_based=True),
]
"""


def rates(folder, text: str, epochs: int, resume: bool = False) -> list[tuple[int, float, float]]:
    text += f"train_cfg.update(max_epochs={epochs})\n"
    running.train(write_config(folder, text), work_dir=str(folder / "run"), resume=resume)
    return RecordRates.rows


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((one_cycle, 2), (one_cycle, 5)),
        ((cosine, 2), (cosine, 5)),
        ((warm_up_and_steps, 3), (warm_up_and_steps, 5)),
        ((one_cycle, 2), (cosine, 4)),
        ((cosine, 2), (one_cycle, 4)),
        ((warm_up_and_steps, 2), (one_cycle, 4)),
    ],
    ids=lambda part: f"{part[0].__name__}-{part[1]}",
)
def test_resumed_run_has_the_rates_of_an_uninterrupted_run_of_its_config(before, after, tmp_path):
    for name in ("parts", "whole"):
        (tmp_path / name).mkdir()
    done = len(rates(tmp_path / "parts", before[0](before[1]), before[1]))
    resumed = rates(tmp_path / "parts", after[0](after[1]), after[1], resume=True)
    whole = rates(tmp_path / "whole", after[0](after[1]), after[1])
    assert len(resumed) == len(whole) - done > 0
    assert resumed == whole[done:]


def test_fewer_epochs_are_the_shorter_schedule(tmp_path):
    for name in ("parts", "whole"):
        (tmp_path / name).mkdir()
    rates(tmp_path / "parts", one_cycle(8), 8)
    (tmp_path / "parts/run/last_checkpoint").write_text(str(tmp_path / "parts/run/epoch_2.pth"))
    resumed = rates(tmp_path / "parts", one_cycle(4), 4, resume=True)
    assert resumed == rates(tmp_path / "whole", one_cycle(4), 4)[2 * STEPS_PER_EPOCH :]


def test_hyperparameters_of_a_resumed_run_are_those_of_its_config(tmp_path):
    rates(tmp_path, "", 1)
    changed = "optim_wrapper.update(optimizer=dict(type='SGD', lr=0.02, momentum=0.5))\n"
    assert rates(tmp_path, changed, 2, resume=True) == [(1, 0.02, 0.5)] * STEPS_PER_EPOCH


def test_moments_of_a_resumed_run_are_those_of_its_checkpoint(tmp_path):
    for name in ("parts", "whole"):
        (tmp_path / name).mkdir()
    rates(tmp_path / "parts", one_cycle(4), 4)
    rates(tmp_path / "whole", one_cycle(4), 4)
    (tmp_path / "parts/run/last_checkpoint").write_text(str(tmp_path / "parts/run/epoch_2.pth"))
    rates(tmp_path / "parts", one_cycle(4), 4, resume=True)
    states = [torch.load(tmp_path / name / "run/epoch_4.pth")["optimizer"]["state"] for name in ("parts", "whole")]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_checkpoint_of_a_later_epoch_is_refused(tmp_path):
    rates(tmp_path, one_cycle(3), 3)
    with pytest.raises(ValueError, match="has 3 epochs, the config asks for 2: raise"):
        rates(tmp_path, one_cycle(2), 2, resume=True)
    rates(tmp_path, one_cycle(3), 3, resume=True)
    assert RecordRates.rows == [], "a finished run has nothing left to do"


@pytest.mark.parametrize("schedule", [one_cycle, cosine])
def test_schedule_that_ends_before_the_training_is_refused_before_the_first_step(schedule, tmp_path):
    text = schedule(2).replace("T_max=2", "T_max=2, end=2")
    with pytest.raises(ValueError, match=r"reaches its end after \d of \d+ (epochs|iterations)"):
        rates(tmp_path, text, 4)
    assert RecordRates.rows == []


def test_schedule_that_follows_a_metric_is_restored(tmp_path):
    text = """
val_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler"), dataset=dict(type="ToyData"))
val_cfg = dict()
val_evaluator = dict(type="ToyMetric")
param_scheduler = [dict(type="ReduceOnPlateauLR", monitor="toy", patience=0, rule="greater", by_epoch=True)]
"""
    before = rates(tmp_path, text, 3)
    assert [row[1] for row in before[::STEPS_PER_EPOCH]] == pytest.approx([0.1, 0.1, 0.01])
    assert rates(tmp_path, text, 4, resume=True)[0][1] == before[-1][1]
