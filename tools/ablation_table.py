"""The table of studies that tools/ablation.py reads, tools/ablation.toml: its entries, checked."""

import argparse
import copy
import hashlib
import json
import os
import sys
import warnings
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from lidar_rank.config_files import config_folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
_TESTED = "test_dataloader.dataset.ann_file"
_DECISIVE = ("model", "optim_wrapper", "param_scheduler", "train_cfg", "custom_hooks", "train_dataloader")


@dataclass(frozen=True)
class DataSet:
    """Data to train or test on: training and validation frames below one root.

    Attributes:
        name: In the table.
        title: On the page.
        variable: Environment variable that names the root to a config.
        text: Below the title.
        root: Where the data lie, or None.
        simulate: How to simulate them: numbers of training scans and of held-out scans, seed, images.
    """

    name: str
    title: str
    variable: str
    text: str = ""
    root: str | None = None
    simulate: dict[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True)
class Row:
    """A detector with a loss.

    Attributes:
        name: DETECTOR/LOSS; the first row of a detector is what its others are compared with.
        config: Path below ``configs/``.
        data: Name of the data set that it is trained on.
        tests: Names of the data sets that it is tested on.
        seeds: Number of final runs.
        loss: The ``--loss``, or None for the config's own.
        options: Settings of all its runs, as ``--cfg-options`` takes them.
        trials: Settings that tuning tries.
        tuned_as: Row whose tuned settings it takes, in place of trials of its own.
        kept: Names of options that the tuned settings leave as they are: those of its variant.
        start: Row whose weights of the same seed it starts from.
        tests_of: Row whose weights of the same seed it tests, in place of training.
    """

    name: str
    config: str
    data: str
    tests: tuple[str, ...]
    seeds: int
    loss: str | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    trials: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    tuned_as: str | None = None
    kept: tuple[str, ...] = ()
    start: str | None = None
    tests_of: str | None = None

    @property
    def detector(self) -> str:
        """What the rows that are compared with each other share."""
        return self.name.partition("/")[0]

    @property
    def arguments(self) -> list[str]:
        """The config and its loss, as ``lidar-rank`` takes them."""
        return [os.path.relpath(config_folder() / self.config), *(["--loss", self.loss] if self.loss else [])]

    def with_options(self, options: dict[str, Any]) -> "Row":
        """The row with further settings, such as those of a trial."""
        return replace(self, options={**self.options, **options, **{key: self.options[key] for key in self.kept}})


@dataclass(frozen=True)
class Tuning:
    """How the settings of each row are chosen.

    Attributes:
        data: Data set whose held-out frames decide; no row may be tested on them.
        trials: Number of trials of every row, the same for all.
        seeds: Runs of each trial.
        options: Settings of the tests that decide, which name other frames of a data set than those of its tests.
    """

    data: str
    trials: int
    seeds: int = 1
    options: dict[str, Any] = field(default_factory=dict, hash=False)


class Study:
    """One page of results and what is on it.

    Raises:
        ValueError: a row or a variant names what is not there; a row has another number of trials than the others, or
            would be tested on frames that its settings were chosen on.
    """

    def __init__(self, name: str, table: dict[str, Any]) -> None:
        self.name = name
        self.page = ROOT / table["page"]
        self.title, self.text, self.score = table["title"], table["text"].strip(), table["score"]
        self.scale, self.columns = table.get("scale", 1), table["columns"]
        self.resampled: int = table.get("resampled", 0)
        self.coco_files: str | None = table.get("coco_files")
        self.options, self.test_options = table.get("options", {}), table.get("test_options", {})
        self.tuning = Tuning(**table["tuning"]) if "tuning" in table else None
        self.data_sets = {key: DataSet(name=key, **entry) for key, entry in table["data_sets"].items()}
        usual = {key: table[key] for key in ("data", "tests", "seeds") if key in table}
        entries = table["rows"] | _entries_of_variants(table["rows"], table.get("variants", []))
        rows = [_row(key, {**usual, **entry}, self.options) for key, entry in entries.items()]
        detectors = [row.detector for row in rows]  # whose rows stand together
        self.rows = {row.name: row for row in sorted(rows, key=lambda row: detectors.index(row.detector))}
        for row in rows:
            self._check(row)

    def num_final_runs(self, seeds: int | None = None) -> int:
        """How many final runs there will be once all rows are tuned, with this many seeds in place of the rows' own."""
        return sum(seeds or row.seeds for row in self.rows.values())

    def _check(self, row: Row) -> None:
        where = f"study {self.name}, row {row.name}"
        for other in {row.tuned_as, row.start, row.tests_of} - {None}:
            if other not in self.rows:
                raise ValueError(f"{where}: there is no row {other}")
        if not self.tuning:
            return
        trials = self.rows[row.tuned_as].trials if row.tuned_as else row.trials
        if len(trials) != self.tuning.trials:
            raise ValueError(f"{where} has {len(trials)} trials, every row must have {self.tuning.trials}")
        decides = self.data_sets[self.tuning.data]
        own_frames = self.tuning.options.get(_TESTED)
        if not (decides.simulate or own_frames):
            raise ValueError(
                f"study {self.name}: settings are chosen on simulated data or on frames that tuning.options names "
                f"({_TESTED}), not on the test frames of {decides.name}"
            )
        if own_frames and own_frames in _lists_of_frames(row.config):
            raise ValueError(
                f"{where}: {own_frames}, which decides its settings, is what its config tests or trains on"
            )
        for name in row.tests:
            tested = self.data_sets[name]
            alike = decides.simulate and (tested.simulate or {}).get("seed") == decides.simulate["seed"]
            if not own_frames and (tested is decides or alike):
                raise ValueError(f"{where} is tested on {name}, whose frames decide its settings")


@cache
def _lists_of_frames(config: str) -> set[str]:
    """The lists of frames that a config trains and tests on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it imports a module that is deprecated
        from mmengine import Config

        found = Config.fromfile(config_folder() / config, import_custom_modules=False)
    return {found[loader].dataset.get("ann_file") for loader in ("train_dataloader", "test_dataloader")}


@cache
def config_digest(config: str, loss: str | None, options: str) -> str:
    """A checksum of what a row sets of network, losses, optimizer, schedule and training data.

    With it, numbers that were measured before a config was changed are not taken for those of the changed one.

    Args:
        config: Path below ``configs/``.
        loss: The ``--loss``, or None.
        options: Further settings, as JSON.
    """
    found = copy.deepcopy(_config_with_loss(config, loss))
    found.merge_from_dict(json.loads(options))
    decisive = _without_paths({key: found.get(key) for key in _DECISIVE})
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16]


@cache
def _config_with_loss(config: str, loss: str | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it imports a module that is deprecated
        from lidar_rank.mm.configs import load_config

        return load_config(str(config_folder() / config), loss)


def _without_paths(settings: Any) -> Any:
    """Settings without the folders of the data, which an environment variable names."""
    if isinstance(settings, dict):
        return {key: _without_paths(value) for key, value in settings.items() if key not in ("data_root", "info_path")}
    return [_without_paths(value) for value in settings] if isinstance(settings, list | tuple) else settings


def read_studies(path: Path) -> dict[str, Study]:
    """Read a table of studies.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a study is not as it must be.
    """
    return {name: Study(name, table) for name, table in tomllib.loads(path.read_text()).items()}


def root_of(data: DataSet, options: argparse.Namespace) -> str | None:
    """Where a data set lies or is to be simulated, or None."""
    return options.data.get(data.name) or data.root or (str(options.out / data.name) if data.simulate else None)


def options_as_words(options: dict[str, Any]) -> list[str]:
    """Settings as the command line takes them, each one word."""
    words = [f"{key}={value!r}".replace(", ", ",").replace(": ", ":") for key, value in options.items()]
    return ["--cfg-options", *words] if words else []


def _entries_of_variants(rows: dict[str, Any], variants: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows that repeat others under another name, each with the variant's entries in place of theirs."""
    made: dict[str, Any] = {}
    for variant in variants:
        own = {key: value for key, value in variant.items() if key not in ("name", "rows", "same_weights")}
        for name in variant["rows"]:
            if (source := (rows | made).get(name)) is None:
                raise ValueError(f"variant {variant['name']}: there is no row {name} to repeat")
            if (new := f"{variant['name']}/{name.partition('/')[2]}") in rows | made:
                raise ValueError(f"variant {variant['name']}: there is a row {new} already")
            repeated = {key: value for key, value in source.items() if key not in ("trials", "seeds")}
            entry = {"tuned_as": name, **repeated, **own}
            entry["options"] = {**source.get("options", {}), **own.get("options", {})}
            entry["kept"] = (*source.get("kept", ()), *own.get("options", {}))
            if variant.get("same_weights"):
                entry["tests_of"] = name
            made[new] = entry
    return made


def _row(name: str, entry: dict[str, Any], options: dict[str, Any]) -> Row:
    lists = {key: tuple(entry.get(key, default)) for key, default in (("tests", [entry["data"]]), ("trials", []))}
    return Row(name=name, **{**entry, **lists, "options": {**options, **entry.get("options", {})}})
