"""Every repair of the host: the fault, mended."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import put
from mmengine.logging import MessageHub

from lidar_rank.mm import compat


def test_checkpoint_with_a_history_loads_with_the_weights_only_check(tmp_path):
    hub = MessageHub("history")
    hub.update_scalar("train/loss", torch.tensor(1.5))
    hub.update_scalar("train/rate", np.float64(0.25))
    torch.save({"message_hub": hub.state_dict(), "meta": {"best": np.float64(3)}}, tmp_path / "c.pth")
    loaded = torch.load(tmp_path / "c.pth", weights_only=True)
    assert loaded["message_hub"]["log_scalars"]["train/loss"].mean() == 1.5
    assert loaded["meta"]["best"] == 3


class _Attack:
    def __reduce__(self):
        return getattr, (torch.Tensor, "numpy")


def test_checkpoint_cannot_fetch_other_attributes(tmp_path):
    torch.save(_Attack(), tmp_path / "attack.pth")
    with pytest.raises(ValueError, match="may name methods of mmengine"):
        torch.load(tmp_path / "attack.pth", weights_only=True)


def test_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "epoch_1.pth"
    put(b"old", str(target))

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*epoch_1\.pth'"):
        put(b"new", str(target))
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_augmentation_is_cached():
    from mmdet3d.datasets.transforms import data_augment_utils

    assert data_augment_utils.noise_per_box._cache.__class__.__name__ == "FunctionCache"


def test_numpy_long_is_there():
    compat.restore_numpy_long()
    assert np.array([1], dtype=np.long).dtype.kind == "i"


def test_config_is_formatted_once(monkeypatch):
    calls = []

    def formats(text, style_config):
        calls.append(style_config)
        return text.upper(), True

    monkeypatch.setattr(compat, "FormatCode", formats)
    compat.format_each_config_once()
    one, other = Config({"lr": 0.125}), Config({"lr": 0.25})
    assert [one.pretty_text, one.pretty_text, other.pretty_text] == ["LR=0.125", "LR=0.125", "LR=0.25"]
    assert [style["based_on_style"] for style in calls] == ["pep8", "pep8"]
    monkeypatch.undo()
    compat.format_each_config_once()
