"""The pages that people read: every block of code in them runs, or is a command that exists with its options.

A block of ``python`` is run, or its model is built if it is a config; the blocks of a page share their names. A block
of ``text`` is no code. Any other block holds commands for a shell: those of this project are parsed by their own
parsers, their configs, losses and settings are looked up, and those in ``EXECUTED`` are run. Everything happens in a
folder with small data at the places that the pages name.
"""

import argparse
import contextlib
import functools
import itertools
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from mmengine.config import Config

from lidar_rank.cli import build_parser, main
from lidar_rank.config_files import check_before_import, find_config
from lidar_rank.kitti.classes import ClassStatistics, write_statistics
from lidar_rank.mm.configs import load_config
from lidar_rank.mm.registry import MODELS
from lidar_rank.weights import find_model

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]

# Python that does not run here, by page and first line, with the reason.
NOT_RUN = {
    ("docs/losses.md", "import math"): "tests/losses/test_documentation.py runs it and looks at what it prints",
}
# What stands for something that the reader fills in.
PLACEHOLDERS = {
    "CONFIG": "second_kitti-car_small",
    "CHECKPOINT": "epoch_40.pth",
    "MODEL": "second-car",
    "PART": "shapes",
    "LOSS": "dr",
    "SCANS": "data/simulated",
    "SEED": "0",
    "my_config.py": "second_kitti-car_small",
}
EXECUTED = ("evaluate", "models", "predict", "doctor")
# Programs of others.
FOREIGN = {"cd", "sbatch", "curl", "do", "done", "export", "for", "git", "mkdir", "pip", "source", "tensorboard"}

FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]*\blidar-rank [a-z][^`\n]*)`")


def blocks(page: Path, language: str | None = None) -> Iterator[str]:
    """The blocks of a page in one language; without one, those that hold commands."""
    for indent, own, body in FENCE.findall(page.read_text(encoding="utf-8")):
        commands = own in ("", "bash", "console")
        if own == language or (language is None and commands):
            yield re.sub(f"^{indent}", "", body, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, simulated_root: Path) -> Path:
    """What the reader of the pages has: a KITTI root, results on it, a scan, and the configs beside his own."""
    folder = tmp_path_factory.mktemp("reader")
    for root in ("data/kitti", "data/simulated", "data/own", "my_root"):
        (folder / root).parent.mkdir(exist_ok=True)
        (folder / root).symlink_to(simulated_root)
    (folder / "results").mkdir()
    for frame in (simulated_root / "ImageSets" / "val.txt").read_text().split():
        lines = (simulated_root / "training" / "label_2" / f"{frame}.txt").read_text().splitlines()
        (folder / "results" / f"{frame}.txt").write_text("".join(f"{line} 0.9\n" for line in lines))
    scan = np.fromfile(simulated_root / "training" / "velodyne" / "000000.bin", np.float32).reshape(-1, 4)
    header = (
        f"VERSION .7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH {len(scan)}\nHEIGHT 1"
    )
    header += f"\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(scan)}\nDATA binary\n"
    (folder / "scan.pcd").write_bytes(header.encode() + scan.tobytes())
    (folder / "configs").symlink_to(REPOSITORY / "configs")
    return folder


@pytest.mark.parametrize("name", [name for name, page in zip(NAMES, PAGES, strict=True) if [*blocks(page, "python")]])
def test_python_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for code in blocks(REPOSITORY / name, "python"):
        if (name, code.partition("\n")[0]) in NOT_RUN:
            continue
        if "_base_ = " in code:
            (folder / "my_config.py").write_text(code)
            MODELS.build(load_config("my_config.py").model)
        else:
            exec(compile(code, name, "exec"), names)


def test_what_does_not_run_is_in_the_pages():
    first_lines = {
        (name, code.partition("\n")[0])
        for name, page in zip(NAMES, PAGES, strict=True)
        for code in blocks(page, "python")
    }
    assert set(NOT_RUN) <= first_lines


class Parsed(Exception):  # noqa: N818 - no error
    """The parser of a command took its arguments."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options


class Incomplete(AssertionError):  # noqa: N818
    """A command lacks arguments."""


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every program stop when it has parsed its arguments, and say what is wrong with them."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *arguments: object) -> NoReturn:
        raise Parsed(parse(parser, *arguments))

    def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
        raise (Incomplete if "arguments are required" in message else AssertionError)(f"{parser.prog}: {message}")

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(argparse.ArgumentParser, "error", refuse)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in a block: comments, variables and what is set before a command are resolved."""
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), line)
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)]
        for both, part in itertools.groupby(words, "&&".__eq__):
            command = [] if both else list(part)
            while command and re.fullmatch(r"[A-Z_]+=.*|time", command[0], re.DOTALL):
                name, _, value = command.pop(0).partition("=")
                variables[name] = value
            if command:
                yield command


def check_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a command exists and takes its arguments."""
    program, *arguments = words
    if program == "torchrun":
        script = next(index for index, word in enumerate(arguments) if word.endswith(".py"))
        program, arguments = "python", arguments[script:]
    if program == "lidar-rank":
        check_options(parsed(lambda: build_parser().parse_args(arguments)))
    elif program == "python":
        script = REPOSITORY / arguments[0]
        assert script.is_file(), f"there is no {arguments[0]}"
        monkeypatch.setattr(sys, "argv", arguments)
        check_options(parsed(lambda: run_script(script)))
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
    elif program in ("bash", "pytest") or program.startswith("tools/"):
        files = [word for word in words if "/" in word]
        assert all((REPOSITORY / file).exists() for file in files), files
    else:
        assert program in FOREIGN or program.startswith(".venv/bin/"), f"{program} is not known here"


def parsed(program: Callable) -> argparse.Namespace:
    with pytest.raises(Parsed) as stopped:
        program()
    return stopped.value.options


def run_script(path: Path) -> None:
    """Run a script; its imports are executed once."""
    read_script(path)["main"]()


@functools.cache
def read_script(path: Path) -> dict[str, Callable]:
    return runpy.run_path(str(path))


def check_options(options: argparse.Namespace) -> None:
    """Check that the config, the loss, the settings and the model of a command exist."""
    if "model" in options:
        config, _, loss = find_model(options.model, options.checkpoint, options.loss)
    else:
        config, loss = getattr(options, "config", None), getattr(options, "loss", None)
    if config is None:
        return
    config = REPOSITORY / config if (REPOSITORY / config).is_file() else config
    check_before_import(find_config(config), loss)
    settings = getattr(options, "cfg_options", None) or {}
    for key in settings:
        *places, last = key.split(".")
        owner = functools.reduce(step_into, places, read_config(str(config), loss))
        # What has a type takes options that the config leaves out; so does the loop, whose type is the host's default.
        assert last in owner or "type" in owner or places == ["train_cfg"], f"{config} has no setting {key}"


@functools.cache
def read_config(config: str, loss: str | None) -> Config:
    return load_config(config, loss)


def step_into(part: object, name: str) -> object:
    return part[int(name) if name.isdigit() else name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("only_parse")
def test_commands_exist(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (own := tmp_path / "data" / "own").mkdir(parents=True)
    write_statistics(own, {"Car": ClassStatistics(100, (3.9, 1.6, 1.5), -1.7)})  # which a config for own data reads
    (work_dir := tmp_path / "work_dirs" / "second_own_small").mkdir(parents=True)
    base = REPOSITORY / "configs" / "second" / "second_own_small.py"
    (work_dir / "second_own_small.py").write_text(f"_base_ = [{str(base)!r}]\n")  # which a training leaves there
    for block in blocks(REPOSITORY / name):
        for words in commands(block):
            check_command(words, monkeypatch)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("only_parse")
def test_commands_within_sentences_exist(name, monkeypatch):
    for code in INLINE.findall((REPOSITORY / name).read_text(encoding="utf-8")):
        for words in commands(code):
            # A sentence may name a command, or an option of it, alone; `--help` leaves the program.
            with contextlib.suppress(Incomplete, SystemExit):
                check_command(words, monkeypatch)


@pytest.mark.usefixtures("only_parse")
def test_examples_of_the_commands_exist(monkeypatch):
    (subparsers,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    for command in subparsers.choices.values():
        for words in commands(command.epilog.removeprefix("example: ")):
            check_command(words, monkeypatch)


def executed() -> list[list[str]]:
    """The commands of all pages that are cheap enough to run, each once."""
    found = {
        tuple(words)
        for page in PAGES
        for block in blocks(page)
        for words in commands(block)
        if words[0] == "lidar-rank" and words[1] in EXECUTED and "--checkpoint" not in words
    }
    return [list(words) for words in sorted(found)]


@pytest.mark.parametrize("words", executed(), ids=shlex.join)
def test_cheap_commands_run(words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(words[1:]) == 0


def test_architecture_names_every_folder():
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    folders = [path.parent.name for path in (REPOSITORY / "lidar_rank").glob("*/__init__.py")]
    assert [name for name in folders if f"`{name}/" not in page] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = REPOSITORY / name
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
