"""Everything here needs the host; its own warnings are not ours to turn into errors."""

import functools
import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mmengine.config import utils as config_utils
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    import lidar_rank.mm  # noqa: F401

HERE = Path(__file__).parent
CONFIGS = Path(__file__).parents[2] / "configs"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.mm)
            item.add_marker(pytest.mark.filterwarnings("ignore"))


_host_config = functools.cache(config_utils._get_cfg_metainfo)


@pytest.fixture(autouse=True)
def _fresh_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the scope, loggers and visualizers of earlier tests, so that no test depends on another.

    The compiler's version is left out of logs: to ask for it takes seconds of every run. The index of the host's
    configs is read once: it lies in a hundred files.
    """
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer, *Visualizer.__subclasses__()):
        manager._instance_dict.clear()
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setattr(config_utils, "_get_cfg_metainfo", _host_config)


@pytest.fixture(scope="session")
def simulated_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared KITTI root of 6 simulated scans: 4 to train on, 2 held back."""
    from lidar_rank.kitti import prepare_kitti
    from lidar_rank.simulation import simulate_kitti

    root = tmp_path_factory.mktemp("simulated") / "kitti"
    simulate_kitti(root, scans=6, seed=3, val=2, images=False)
    prepare_kitti(root, image_size=(1242, 375), progress=False)
    return root


@pytest.fixture
def small_config(
    simulated_root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The small car config, shrunk to voxels of 0.3 m and one layer a stage, on the simulated root."""
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    path = tmp_path_factory.mktemp("config") / "second_kitti-car_tiny.py"
    path.write_text(f"""
_base_ = ["{CONFIGS / "second" / "second_kitti-car_small.py"}"]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.3, 0.3, 0.2], max_voxels=(4000, 4000))),
    middle_encoder=dict(sparse_shape=[21, 128, 128]),
    backbone=dict(layer_nums=[1, 1]),
)
test_dataloader = dict(num_workers=0, persistent_workers=False)
""")
    return str(path)


@pytest.fixture
def brief() -> dict:
    """Settings that make a training last seconds: 2 epochs of 2 steps, one validation, data loaded by the process."""
    return {
        "train_cfg.max_epochs": 2,
        "train_cfg.val_interval": 2,
        "train_dataloader.batch_size": 2,
        "train_dataloader.num_workers": 0,
        "val_dataloader.num_workers": 0,
        "val_dataloader.persistent_workers": False,
        "train_dataloader.dataset.times": 1,
        "default_hooks.logger.interval": 1,
    }
