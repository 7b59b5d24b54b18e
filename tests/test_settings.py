"""Settings of the process."""

import os
import platform
import subprocess
import sys

import pytest

from lidar_rank.cli import main
from lidar_rank.settings import prepare_for_cpus


def test_a_command_lets_threads_sleep_while_they_wait(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_WAIT_POLICY", "to be put back")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["evaluate", str(tmp_path / "none"), str(tmp_path)]) == 2
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_the_user_decides_how_threads_wait(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    prepare_for_cpus()
    assert os.environ["OMP_WAIT_POLICY"] == "active"


# Prints how often the system had to provide a page while an array of 16 MB was made and freed again and again.
PAGES = """
import numpy, resource
from lidar_rank.settings import prepare_for_cpus
prepare_for_cpus()
numpy.ones(2**22, "f4")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(2**22, "f4")
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_of_freed_arrays_is_used_again_unless_the_user_says_otherwise():
    def pages(**variables: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", PAGES], env={**os.environ, **variables}))

    assert pages() < 1000 < pages(MALLOC_MMAP_THRESHOLD_="131072")
