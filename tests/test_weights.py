"""Models that come with the package."""

from pathlib import Path

import pytest

from lidar_rank.config_files import check_before_import, config_folder
from lidar_rank.weights import find_model, format_models, shipped_models


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_model_is_complete(name):
    model = shipped_models()[name]
    check_before_import(str(config_folder() / model.config), model.loss)
    assert model.weights.stat().st_size < 8e6
    assert model.ap_percent
    assert name in format_models()


def test_unknown_model_names_those_that_exist():
    with pytest.raises(ValueError, match=r"no model 'secand' comes with the package, which has .*--checkpoint FILE"):
        find_model("secand")


def test_checkpoint_of_ones_own_goes_with_its_config():
    assert find_model("my.py", "my.pth", "dr") == ("my.py", Path("my.pth"), "dr")
