"""Settings that come from the environment."""

import os
from typing import Final

SKIP_VARIABLE: Final = "LIDAR_RANK_SKIP"


def skipped_repairs() -> frozenset[str]:
    """Names of the repairs of other packages that are to be left out: ``LIDAR_RANK_SKIP``, separated by commas.

    ``docs/architecture.md`` lists the repairs.
    """
    words = os.environ.get(SKIP_VARIABLE, "").split(",")
    return frozenset(word.strip() for word in words if word.strip())
