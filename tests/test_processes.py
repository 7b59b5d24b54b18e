"""Processes of a pool."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
