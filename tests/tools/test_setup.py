"""Set-up with stand-ins for Python, pip and nvidia-smi: which packages it asks for, and one line for each fault."""

import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]

# A Python of version $VERSION in its name, whose venv is a copy of itself and whose pip does what the file `pip` says.
PYTHON = """#!/bin/bash
here=$(cd "$(dirname "$0")" && pwd)
version=$(cat "$here/.version-$(basename "$0")" 2>/dev/null || cat "$here/.version")
case "$*" in
    *version_info*) echo "$version" ;;
    *"import ensurepip"*) [ ! -e "$here/.no-venv" ] ;;
    "-m venv"*)
        echo "venv $version $*" >>"$CALLS"
        venv="${@: -1}"
        [[ $* != *--clear* ]] || rm -rf "$venv"
        mkdir -p "$venv/bin" && cp "$0" "$venv/bin/python" && echo "$version" >"$venv/bin/.version" ;;
    "-m pip --version") [ -e "$here/.version" ] ;;
    "-m pip check") ;;
    "-m pip"*)
        shift 2
        echo "pip $*" >>"$CALLS"
        words="$*" log=${words##*--log }
        set -o pipefail
        (source "$PIP") | tee -a "${log%% *}" ;;
    *) ;;
esac
"""


class Project:
    """A copy of the files that `make setup` reads, with stand-ins first in the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder / "project", folder / "bin"
        for file in ("tools/setup.sh", "requirements/constraints.txt", "Makefile", "pyproject.toml", "setup.py"):
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.folder / file)
        self.bin.mkdir()
        self.calls, self.pip = folder / "calls", folder / "pip"
        self.pip.write_text("")
        self.calls.write_text("")
        for name in ("python3.11", "python3.12", "python3.10", "python3"):
            self.add(name, "exit 127")
        self.add("nvidia-smi", "exit 9")
        self.add("uname", "echo Linux x86_64")
        self.set_free_disk(100_000_000)

    def add(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script if script.startswith("#!") else f"#!/bin/bash\n{script}\n")
        (self.bin / name).chmod(0o755)

    def set_free_disk(self, free_kb: int) -> None:
        heads = "Filesystem 1024-blocks Used Available Capacity Mounted"
        self.add("df", f"printf '{heads}\\n/dev/x 9 9 {free_kb} 9%% /\\n'")

    def add_python(self, version: str, name: str | None = None) -> None:
        name = name or f"python{version}"
        self.add(name, PYTHON)
        (self.bin / f".version-{name}").write_text(version)

    def setup(self, **variables: str) -> tuple[int, list[str], str]:
        """Exit status, the lines of `setup:`, and what was called meanwhile."""
        self.calls.write_text("")
        done = subprocess.run(
            ["bash", str(self.folder / "tools" / "setup.sh")],
            env={
                "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self.folder),
                "CALLS": str(self.calls),
                "PIP": str(self.pip),
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()], self.calls.read_text()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def check_fails_in_one_line(result: tuple[int, list[str], str], *words: str) -> None:
    status, lines, _ = result
    assert status == 1
    assert all(word in lines[-1] for word in words), lines
    steps = [line for line in lines[:-1] if not line.startswith("setup: [")]
    assert steps == [], "the fault is one line"


def test_steps_are_shown_and_packages_pinned(project):
    project.add_python("3.11")
    status, lines, calls = project.setup()
    assert status == 0
    assert [line.split("]")[0] for line in lines if "[" in line] == [f"setup: [{step}/5" for step in (1, 2, 3, 4, 5)]
    assert "done" in lines[-1]
    installs = [line for line in calls.splitlines() if line.startswith("pip install")]
    assert len(installs) == 4
    assert all("-c requirements/constraints.txt" in line for line in installs[1:])
    assert installs[-1].endswith("-e .[mmdet3d,simulation,view,dev]")


def test_large_files_are_shown(project):
    project.add_python("3.11")
    project.pip.write_text(
        'echo "  Downloading open3d-0.19.0-cp311-cp311-manylinux_2_31_x86_64.whl (447.7 MB)"\n'
        'echo "Progress 100000000 of 447700000"\n'
        'echo "  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)"\n'
        'echo "Installing collected packages: six, open3d"\n'
    )
    _, lines, _ = project.setup()
    assert any("open3d-0.19.0 (447.7 MB), package 1 of about" in line for line in lines)
    assert any("unpacking 2 packages" in line for line in lines)
    assert not any("six" in line for line in lines)


@pytest.mark.parametrize(
    ("installed", "taken"),
    [(("3.12", "3.11", "3.10"), "3.11"), (("3.10", "3.12"), "3.12"), (("3.10",), "3.10")],
)
def test_default_python(project, installed, taken):
    for version in installed:
        project.add_python(version)
    status, lines, _ = project.setup()
    assert status == 0
    assert f".venv with Python {taken}, for a CPU" in lines[0]


def test_venv_of_another_python_is_kept_unless_one_is_named(project):
    project.add_python("3.12")
    assert project.setup()[0] == 0
    project.add_python("3.11")
    status, lines, calls = project.setup()
    assert status == 0
    assert "with Python 3.12" in lines[0]
    assert "-m venv" not in calls
    status, lines, calls = project.setup(PYTHON="python3.11")
    assert "setup: making .venv anew, as its Python is 3.12" in lines
    assert "venv 3.11 -m venv --clear .venv" in calls
    assert status == 0


def test_half_made_venv_is_completed(project):
    project.add_python("3.11")
    (project.folder / ".venv" / "bin").mkdir(parents=True)
    (project.folder / ".venv" / "bin" / "python").symlink_to("/nowhere/python3.9")
    status, lines, _ = project.setup()
    assert status == 0
    assert "setup: making .venv anew, as its Python is broken" in lines


def test_compiled_mmcv_of_an_earlier_version_is_replaced(project):
    project.add_python("3.11")
    old = project.folder / ".venv" / "lib" / "python3.11" / "site-packages" / "mmcv-2.1.0.dist-info"
    assert project.setup()[0] == 0
    old.mkdir(parents=True)
    status, lines, calls = project.setup()
    assert status == 0
    assert any("mmcv-lite takes the place of the compiled mmcv" in line for line in lines)
    assert calls.index("pip uninstall -q -y mmcv mmcv-lite") < calls.index("-e .[mmdet3d")


@pytest.mark.parametrize("version", ["3.9", "3.13", "3.15"])
def test_python_that_does_not_fit_is_refused(project, version):
    project.add_python(version)
    result = project.setup(PYTHON=f"python{version}")
    check_fails_in_one_line(result, f"is Python {version}", "3.10, 3.11 or 3.12", "set PYTHON")
    project.add_python("3.11")
    assert project.setup()[0] == 0, "the next call goes on"


def test_no_python_is_said(project):
    check_fails_in_one_line(project.setup(), "no Python 3.10, 3.11 or 3.12", "PYTHON=")
    check_fails_in_one_line(project.setup(PYTHON="python3.14"), "python3.14 does not run")


def test_missing_venv_module_is_said(project):
    project.add_python("3.11")
    (project.bin / ".no-venv").touch()
    check_fails_in_one_line(project.setup(), "python3.11 has no module venv", "apt-get install python3.11-venv")
    (project.bin / ".no-venv").unlink()
    assert project.setup()[0] == 0, "the next call goes on"


def test_full_disk_is_said_before_and_while_pip_runs(project):
    project.add_python("3.11")
    project.set_free_disk(1_000_000)
    check_fails_in_one_line(project.setup(), "is full", "about 5 GB", "1 GB are free")
    project.set_free_disk(100_000_000)
    project.pip.write_text(
        '[[ $* != *-e* ]] || { echo "ERROR: Could not install: [Errno 28] No space left on device"; exit 1; }\n'
    )
    check_fails_in_one_line(project.setup(), "the disk is full", "TMPDIR", "call this again")
    project.pip.write_text("")
    assert project.setup()[0] == 0, "the next call goes on"


@pytest.mark.parametrize(
    "answer",
    [
        "ERROR: No matching distribution found for torch==2.13.0+cpu",
        # What pip says where the index has that build for another Python.
        "Additionally, some packages in these conflicts have no matching distributions available for your environment:",
    ],
)
def test_builds_for_cpus_are_preferred_without_a_gpu(project, answer):
    project.add_python("3.11")
    pins = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    torch = next(line for line in pins if line.startswith("torch=="))
    _, _, calls = project.setup()
    assert f"{torch}+cpu\n" in calls
    project.pip.write_text(
        'case "$*" in *+cpu*) echo "ERROR: Could not find a version (from versions: 2.12.0, 2.13.0)"\n'
        f'echo "{answer}"; exit 1 ;; esac\n'
    )
    status, lines, calls = project.setup()
    assert status == 0
    assert calls.index("+cpu --extra-index-url=https://download.pytorch.org/whl/cpu") < calls.index(f" {torch}\n")
    assert any("2.7 GB" in line for line in lines)


def test_gpu_gets_cuda_and_a_sparse_backend(project):
    project.add_python("3.12")
    project.add("nvidia-smi", "exit 0")
    status, lines, calls = project.setup()
    assert status == 0
    assert "for a GPU" in lines[0]
    assert "+cpu" not in calls
    assert "-e .[mmdet3d,simulation,view,gpu,dev]" in calls


@pytest.mark.parametrize("status", [403, 503])
def test_index_that_answers_with_an_error_is_said(tmp_path, status):
    project = Project(tmp_path)
    project.add("python3.11", f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    if sys.version_info[:2] != (3, 11):
        project.add("python3", f'#!/bin/bash\nexec {sys.executable} "$@"\n')

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        result = project.setup(
            PIP_INDEX_URL=f"http://127.0.0.1:{server.server_port}/simple",
            PIP_CONFIG_FILE=os.devnull,
            PIP_RETRIES="0",
        )
        server.shutdown()
    check_fails_in_one_line(result, "could not get all packages", str(status), "call this again")
