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
    # The IoU-guided term orders objects among themselves; alone it knows no background.
    assert set(precision) == {
        cls.__name__ for cls in losses.SigmoidFocalLoss.__base__.__subclasses__() if cls is not losses.IoURankingLoss
    }
    assert min(map(float, precision.values())) > 0.95, precision


def test_every_loss_is_described():
    page = PAGE.read_text()
    missing = [name for name in losses.__all__ if name.endswith("Loss") and f"`{name}" not in page]
    assert not missing


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)", PAGE.read_text())
    assert targets
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []
