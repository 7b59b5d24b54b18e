"""The labels of candidates, as losses, heads and diagnostics share them.

A candidate (an anchor, a point, a proposal) has the class of its object, 0 to C - 1; C if it is background; or -1 if it
is ignored.
"""

from typing import Any


def is_object(labels: Any, num_classes: int) -> Any:
    """Which candidates are matched with an object of any class.

    Args:
        labels: Integers of any shape, a numpy array or a torch tensor.
        num_classes: C, the label of background.

    Returns:
        Booleans of the same shape and kind.
    """
    return (labels >= 0) & (labels < num_classes)
