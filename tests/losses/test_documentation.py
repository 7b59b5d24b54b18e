"""The page that users read before they choose: its example runs, and it forgets no loss."""

import contextlib
import io
import re
from pathlib import Path

from lidar_rank import losses

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"


def test_the_example_trains_each_loss():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    precision = dict(re.findall(r"^(\w+) +AP (\S+)$", printed.getvalue(), re.MULTILINE))
    assert set(precision) == {loss.__name__ for loss in losses.CLASSIFICATION_LOSSES}
    assert min(map(float, precision.values())) > 0.95, precision


def test_every_loss_is_described():
    page = PAGE.read_text()
    modules = losses.CLASSIFICATION_LOSSES + losses.LOCALIZATION_LOSSES + losses.COMPOSITE_LOSSES
    missing = [module.__name__ for module in modules if not re.search(rf"\b{module.__name__}\b", page)]
    assert not missing, "add a line to the table of docs/losses.md"
