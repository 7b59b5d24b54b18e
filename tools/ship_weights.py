"""Make the weights of a model of the package from a checkpoint: half precision, without the optimizer.

    python tools/ship_weights.py work_dirs/second_kitti-car_small/epoch_40.pth second-car

writes lidar_rank/weights/second-car.safetensors. Its card, second-car.json beside it, is written by hand.
"""

import argparse
from pathlib import Path

from lidar_rank.mm.checkpoints import read_weights, write_weights
from lidar_rank.weights import FOLDER


def main() -> None:
    """Read, halve, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="file that training has saved (.pth)")
    parser.add_argument("name", help="what 'lidar-rank predict' shall call the model")
    args = parser.parse_args()
    out = FOLDER / f"{args.name}.safetensors"
    write_weights(read_weights(args.checkpoint), out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
