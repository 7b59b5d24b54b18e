"""The commands that the scripts for distributed training start."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def start(tmp_path: Path):
    """Run a script with stand-ins for torchrun and srun, and return their arguments."""
    for name in ("torchrun", "srun"):
        stand_in = tmp_path / name
        stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@"\n')
        stand_in.chmod(0o755)

    def run(script: str, *words: str, **variables: str) -> list[str]:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        command = ["bash", str(TOOLS / script), *words]
        out = subprocess.run(
            command, env={"PATH": path, **variables}, check=True, capture_output=True, text=True, timeout=60
        )
        return out.stdout.splitlines()

    return run


def test_dist_train_starts_processes_on_one_machine(start):
    words = start("dist_train.sh", "config.py", "2", "--seed", "3")
    assert words[0] == "torchrun"
    assert {"--nnodes=1", "--node_rank=0", "--nproc_per_node=2", "--master_port=29500"} <= set(words)
    assert words[-4:] == [str(TOOLS / "train.py"), "config.py", "--seed", "3"]


def test_dist_train_takes_part_in_a_run_on_many_machines(start):
    words = start("dist_train.sh", "config.py", "8", NNODES="4", NODE_RANK="2", MASTER_ADDR="10.0.0.1", PORT="1234")
    assert {"--nnodes=4", "--node_rank=2", "--master_addr=10.0.0.1", "--master_port=1234"} <= set(words)
    assert words[-2:] == [str(TOOLS / "train.py"), "config.py"]


@pytest.mark.parametrize(("processes", "per_node"), [("2", 2), ("16", 8)])
def test_slurm_train_requests_the_processes_and_gpus(start, processes, per_node):
    words = start("slurm_train.sh", "gpu", "name", "config.py", processes, "--amp", SRUN_ARGS="--time=1:00")
    assert words[:3] == ["srun", "-p", "gpu"]
    wanted = {f"--gres=gpu:{per_node}", f"--ntasks={processes}", f"--ntasks-per-node={per_node}", "--time=1:00"}
    assert wanted <= set(words)
    assert words[-5:] == ["python", "-u", str(TOOLS / "train.py"), "config.py", "--amp"]
