"""Prepare a KITTI root. ``python tools/create_data.py ROOT ...`` runs ``lidar-rank create-data ROOT ...``."""

import sys

from lidar_rank.cli import main

sys.exit(main(["create-data", *sys.argv[1:]]))
