"""Runs of the ablation as jobs of Slurm, whose commands have stand-ins."""

import argparse
import os
from pathlib import Path

import pytest

from tools import ablation

STAND_INS = {
    "sbatch": """#!/bin/sh
        cp "$1" $$.sh
        export SLURM_JOB_ID=$$ SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0
        sh $$.sh > $$.log 2>&1 &
        echo Submitted batch job $$
    """,
    "srun": """#!/bin/sh
        while [ "$1" = --unbuffered ] || [ "$1" = --output ] || [ "$1" = --error ]; do
            [ "$1" = --unbuffered ] && shift || shift 2
        done
        exec "$@"
    """,
    "sacct": "#!/bin/sh\n",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch) -> argparse.Namespace:
    """Options of a study whose runs are jobs."""
    for name, script in STAND_INS.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("PYTHONPATH", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # which the tool sets
        monkeypatch.setenv(name, "")
    return argparse.Namespace(slurm=["partition=cpu", "time=60"], out=tmp_path / "out")


def work(run: argparse.Namespace, *_: object) -> None:
    """What a job does in place of a training."""
    run.folder.mkdir()
    (run.folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    if run.fails:
        raise ValueError("loss_weight must be >= 0")


def test_a_job_for_each_run_does_it_and_tells_what_failed(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "_do", work)
    runs = [argparse.Namespace(folder=tmp_path / name, fails=name == "dr") for name in ("focal", "dr")]
    shown = []
    (failed,) = ablation._do_all(runs, None, {}, slurm, lambda: shown.append(1))
    assert failed.startswith(f"{tmp_path / 'dr'}: ")
    assert "loss_weight must be >= 0" in failed
    assert len(shown) == 2
    assert [(run.folder / "threads").read_text() for run in runs] == ["1", "1"]
    scripts = [path.read_text().splitlines() for path in tmp_path.glob("*.sh")]
    assert [{"#SBATCH --partition=cpu", "#SBATCH --time=60"} <= set(lines) for lines in scripts] == [True, True]


def test_without_slurm_nothing_is_started(slurm, tmp_path):
    (tmp_path / "srun").unlink()
    with pytest.raises(RuntimeError, match="srun"):
        ablation._executor(slurm)
