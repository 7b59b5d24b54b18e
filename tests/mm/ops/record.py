"""Record what mmcv's compiled operators answer to the cases, for the tests of ours.

python -m tests.mm.ops.record tests/mm/ops/mmcv_answers.npz [--seeds 1]

Run it from the root of the repository with a Python that has compiled mmcv.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: F401 - mmcv's extension module needs its libraries
from numpy import ndarray

from tests.mm.ops.cases import Case, all_cases, call


def main() -> None:
    """Ask every case of every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=1, help="how many sets of random numbers")
    options = parser.parse_args()
    ext = import_module("mmcv._ext")
    cases = [case for seed in range(options.seeds) for case in all_cases(seed)]
    save(options.file, [(case, call(ext, case)) for case in cases])
    print(f"{len(cases)} cases, {options.file.stat().st_size / 1000:.0f} kB in {options.file}")


def save(file: Path, answered: list[tuple[Case, dict[str, ndarray]]]) -> None:
    """Write cases and answers: all numbers of a dtype in one array, equal arrays once, and a table of what is where."""
    pieces: dict[str, list[ndarray]] = {}
    place_of: dict[tuple, tuple] = {}

    def place(array: ndarray) -> tuple:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in place_of:
            stored = pieces.setdefault(array.dtype.str, [])
            place_of[key] = (array.dtype.str, sum(piece.size for piece in stored), array.shape)
            stored.append(array.ravel())
        return place_of[key]

    table = [
        (case.operator, case.name, _each(place, case.arrays), case.settings, _each(place, answers))
        for case, answers in answered
    ]
    numbers = {dtype: np.concatenate(stored) for dtype, stored in pieces.items()}
    np.savez_compressed(file, table=np.array(json.dumps(table)), **numbers)


def load(file: Path) -> Iterator[tuple[Case, dict[str, ndarray]]]:
    """Read cases and answers."""
    with np.load(file) as stored:
        numbers = {dtype: stored[dtype] for dtype in stored.files}

    def at(place: tuple) -> ndarray:
        dtype, start, shape = place
        return numbers[dtype][start : start + math.prod(shape)].reshape(shape)

    for operator, name, arrays, settings, answers in json.loads(str(numbers["table"])):
        yield Case(operator, name, _each(at, arrays), settings), _each(at, answers)


def _each(function: Callable, values: dict[str, Any]) -> dict[str, Any]:
    return {name: function(value) for name, value in values.items()}


if __name__ == "__main__":
    main()
