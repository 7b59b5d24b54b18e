"""Everything here needs the host; its own warnings are not ours to turn into errors."""

import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lidar_rank.mm  # noqa: F401

HERE = Path(__file__).parent
CONFIGS = Path(__file__).parents[2] / "configs"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.mm)
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def simulated_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared KITTI root of 6 simulated scans: 4 to train on, 2 held back."""
    from lidar_rank.datasets import prepare_kitti, simulate_kitti

    root = tmp_path_factory.mktemp("simulated") / "kitti"
    simulate_kitti(root, scans=6, seed=3, val=2, images=False)
    prepare_kitti(root, image_size=(1242, 375), progress=False)
    return root


@pytest.fixture
def small_config(simulated_root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The small car config, on the simulated root."""
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    return str(CONFIGS / "second" / "second_kitti-car_small.py")


@pytest.fixture
def brief() -> dict:
    """Settings that make a training last seconds: 2 epochs of 2 steps, one validation."""
    return {
        "train_cfg.max_epochs": 2,
        "train_cfg.val_interval": 2,
        "train_dataloader.batch_size": 2,
        "train_dataloader.dataset.times": 1,
        "default_hooks.logger.interval": 1,
    }
