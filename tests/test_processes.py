"""Processes of a pool."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from lidar_rank.processes import process_pool

POOL = """
import subprocess
from lidar_rank.processes import process_pool

def work():
    subprocess.run(["sh", "-c", "echo started && exec sleep 90"], check=True)

if __name__ == "__main__":
    with process_pool(1) as pool:
        for done in [pool.submit(work), pool.submit(work)]:
            done.result()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_work_ends_with_the_process_that_asked_for_it(number, tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, tmp_path / "pool.py"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)  # until nobody is there who could write to it
    assert rest == ""
    assert process.returncode == -number


def test_work_ends_when_the_block_fails():
    begun = []

    def fail() -> None:
        with process_pool(1) as pool:
            begun.append(pool.submit(time.sleep, 30))
            raise ValueError("no page")

    with pytest.raises(ValueError, match="no page"):
        fail()
    assert isinstance(begun[0].exception(), BrokenProcessPool)
