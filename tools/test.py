"""Evaluate: ``python tools/test.py CONFIG CHECKPOINT ...`` is ``lidar-rank test CONFIG CHECKPOINT ...``."""

import sys

from lidar_rank.cli import main

sys.exit(main(["test", *sys.argv[1:]]))
