"""Damaged checkpoints are found before a run, whatever the damage."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lidar_rank.mm import running
from lidar_rank.mm.checkpoints import check_checkpoints, check_fits, check_is_whole
from tests.damage import check_reader

WEIGHT = torch.arange(12.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "epoch_3.pth"
    torch.save({"state_dict": {"weight": WEIGHT}, "meta": {"epoch": 3}}, path)
    return path


def test_a_damaged_checkpoint_is_named_in_one_line_and_no_weight_changes_silently(path):
    def read(path: Path) -> None:
        check_is_whole(path)
        assert torch.equal(torch.load(path)["state_dict"]["weight"], WEIGHT)

    check_reader(read, path)


def test_a_changed_byte_inside_a_tensor_is_found(path):
    """torch loads it as another weight."""
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHT.numpy().tobytes()) + 3] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)["state_dict"]["weight"], WEIGHT)
    with pytest.raises(ValueError, match=r"epoch_3\.pth is damaged, .* checksum of .*data/0 differs"):
        check_is_whole(path)


def test_checkpoints_without_checksums_and_in_the_old_format_are_accepted(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"state_dict": {}}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    check_is_whole(path)
    torch.save({"state_dict": {}}, path, _use_new_zipfile_serialization=False)
    check_is_whole(path)


def test_other_files_are_refused(path):
    path.write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"epoch_3\.pth is damaged, or not a checkpoint"):
        check_is_whole(path)
    torch.save(WEIGHT, path)
    with pytest.raises(ValueError, match=r"epoch_3\.pth holds a Tensor"):
        check_is_whole(path)


def test_the_checkpoint_to_start_from_and_the_newest_of_a_resumed_run_are_checked(path, tmp_path):
    (tmp_path / "last_checkpoint").write_text(str(path))
    configs = ({"load_from": str(path)}, {"resume": True}, {"load_from": None, "resume": True})
    for keys in configs:
        check_checkpoints(Config({"work_dir": str(tmp_path), **keys}))
    path.write_bytes(path.read_bytes()[:-100])
    for keys in configs:
        with pytest.raises(ValueError, match=r"epoch_3\.pth is damaged"):
            check_checkpoints(Config({"work_dir": str(tmp_path), **keys}))
    check_checkpoints(Config({"work_dir": str(tmp_path)}))
    check_checkpoints(Config({"work_dir": str(tmp_path), "load_from": "https://example.org/weights.pth"}))


def test_commands_stop_before_the_model_is_built(small_config, path, tmp_path):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"epoch_3\.pth is damaged"):
        running.test(small_config, str(path), work_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"epoch_3\.pth is damaged"):
        running.train(small_config, work_dir=str(tmp_path), options={"load_from": str(path)})
    (tmp_path / "last_checkpoint").write_text(str(path))
    with pytest.raises(ValueError, match=r"epoch_3\.pth is damaged"):
        running.train(small_config, work_dir=str(tmp_path), resume=True)


class Parts(torch.nn.Module):
    """A detector with an auxiliary network, or without."""

    def __init__(self, *, auxiliary: bool) -> None:
        super().__init__()
        self.backbone = torch.nn.Linear(2, 2)
        self.auxiliary = torch.nn.Linear(2, 2) if auxiliary else None


def test_a_test_needs_no_auxiliary_network_and_a_training_does():
    whole, without = (Parts(auxiliary=auxiliary).state_dict() for auxiliary in (True, False))
    check_fits(Parts(auxiliary=True), without, "a.pth")
    check_fits(Parts(auxiliary=False), whole, "a.pth")
    check_fits(Parts(auxiliary=False), whole, "a.pth", trains=True)
    with pytest.raises(ValueError, match=r"2 of 4 tensors are missing, .*; auxiliary\.weight needs shape \(2, 2\)"):
        check_fits(Parts(auxiliary=True), without, "a.pth", trains=True)
