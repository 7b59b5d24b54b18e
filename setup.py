"""Packaging of lidar_rank; tool settings live in pyproject.toml, exact versions in requirements/constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = Path(__file__).parent / "lidar_rank" / "__init__.py"

setup(
    name="lidar_rank",
    version=re.search(r'^__version__ = "(.+)"$', PACKAGE.read_text(), re.MULTILINE)[1],
    description="Ranking and balanced losses for LiDAR and image detectors, on top of mmdet3d",
    packages=find_packages(include=["lidar_rank*"]),
    python_requires=">=3.11",
    install_requires=["torch>=2.1", "numpy<2", "numba>=0.60", "jaxtyping", "tqdm"],
    extras_require={
        "mmdet3d": [
            "mmengine==0.10.7",
            "mmcv==2.1.0",
            "mmdet==3.3.0",
            "mmdet3d==1.4.0",
            "spconv-cu120==2.3.6",
            "open3d==0.19.0",
            "nuscenes-devkit==1.2.0",
            "matplotlib>=3.8",
            "tensorboard",
            "six",  # mmdet imports it without asking for it
        ],
        "dev": [
            "beartype",
            "hypothesis",
            "import-linter",
            "mypy",
            "pre-commit",
            "pytest",
            "ruff",
            "scipy",
            "shapely",
        ],
    },
    entry_points={"console_scripts": ["lidar-rank=lidar_rank.cli:main"]},
)
