"""The scripts behind the figures of the documentation write where the documentation reads."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "tools" / "studies" / "plot_loss_gradients.py"


def test_loss_gradients_replace_the_picture_of_the_documentation():
    spec = importlib.util.spec_from_file_location("plot_loss_gradients", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.OUT.is_file(), script.OUT
