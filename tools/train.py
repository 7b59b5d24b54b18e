"""Train a config. ``python tools/train.py CONFIG ...`` runs ``lidar-rank train CONFIG ...``."""

import sys

from lidar_rank.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
