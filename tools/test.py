"""Test a checkpoint. ``python tools/test.py CONFIG CHECKPOINT ...`` runs ``lidar-rank test CONFIG CHECKPOINT ...``."""

import sys

from lidar_rank.cli import main

sys.exit(main(["test", *sys.argv[1:]]))
