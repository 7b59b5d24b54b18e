"""Measure what each loss is worth: every row of a study on the same data with the same schedule, with several seeds.

    python tools/ablation.py 3d                                # hours; start it again to go on where it stopped
    python tools/ablation.py 3d --rows second/focal second/dr  # some rows only
    python tools/ablation.py 2d --data bccd=/disk/BCCD         # where a data set lies
    python tools/ablation.py 2d --report                       # write the page from the runs that are done

tools/ablation.toml says what a study is. A run is one ``lidar-rank train`` in OUT/ROW/SEED, then a test on each data
set, whose numbers go to result.json there. What is done is skipped, and a run that was killed resumes at its last
epoch. Seeds are the outer loop, so that the page of the first seed has every row.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lidar_rank.config_files import config_folder
from lidar_rank.kitti.files import write_atomically

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "tools" / "ablation.toml"


@dataclass(frozen=True)
class DataSet:
    """Data to train or test on."""

    name: str
    title: str
    variable: str
    text: str = ""
    root: str | None = None
    simulate: dict[str, Any] | None = None


@dataclass(frozen=True)
class Row:
    """A detector with a loss."""

    name: str
    config: str
    data: str
    tests: list[str]
    seeds: int
    loss: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def detector(self) -> str:
        """Whose first row this one is compared with."""
        return self.name.partition("/")[0]

    @property
    def arguments(self) -> list[str]:
        """The config and its loss, as ``lidar-rank`` takes them."""
        return [os.path.relpath(config_folder() / self.config), *(["--loss", self.loss] if self.loss else [])]


class Study:
    """One page of results and what is on it."""

    def __init__(self, name: str, table: dict[str, Any]) -> None:
        self.name = name
        self.page = ROOT / table["page"]
        self.title, self.text, self.score = table["title"], table["text"].strip(), table["score"]
        self.scale, self.columns = table.get("scale", 1), table["columns"]
        self.options, self.test_options = table.get("options", {}), table.get("test_options", {})
        self.data_sets = {key: DataSet(name=key, **entry) for key, entry in table["data_sets"].items()}
        usual = {key: table[key] for key in ("data", "tests", "seeds") if key in table}
        self.rows = {key: _row(key, {**usual, **entry}, self.options) for key, entry in table["rows"].items()}


def _row(name: str, entry: dict[str, Any], options: dict[str, Any]) -> Row:
    entry.setdefault("tests", [entry["data"]])
    return Row(name=name, **{**entry, "options": {**options, **entry.get("options", {})}})


@dataclass(frozen=True)
class Run:
    """One training and its tests."""

    row: Row
    seed: int
    folder: Path
    simulate: dict[str, Any] | None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the numbers of a run."""
        row = {key: value for key, value in asdict(self.row).items() if key not in ("tests", "seeds")}
        return {**row, "simulate": self.simulate}

    def result(self) -> dict[str, dict[str, float]] | None:
        """Metrics by data set, in percent, or None before the first test is done."""
        path = self.folder / "result.json"
        return json.loads(path.read_text()) if path.exists() else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing, and write the page after each."""
    options = _arguments(arguments)
    study: Study = options.study
    runs = list(_runs(study, options))
    for run in runs:
        _check_begun(run)
    failed = []
    if not options.report:
        roots = _make_data(study, options)
        for run in runs:
            tests = [name for name in run.row.tests if name in roots and name not in (run.result() or {})]
            if run.row.name in options.rows and run.row.data in roots and tests:
                try:
                    _do(run, study, roots, tests)
                except (subprocess.CalledProcessError, ValueError, OSError) as error:
                    failed.append(f"{run.row.name} with seed {run.seed}: {error}")
                _write_page(study, runs, options)
    _write_page(study, runs, options)
    if failed:
        raise SystemExit("\n".join(["ablation: these runs failed; start again to retry them", *failed]))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a study in the table of studies, such as 2d")
    parser.add_argument("--studies", type=Path, default=STUDIES, help="table of studies (default tools/ablation.toml)")
    parser.add_argument("--out", type=Path, help="runs and simulated data (default work_dirs/ablation_STUDY)")
    parser.add_argument("--page", type=Path, help="file to write (default that of the study)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="default all")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds of a row (default that of the study)")
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=DIR", help="where data sets lie")
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    tables = tomllib.loads(options.studies.read_text())
    if options.study not in tables:
        parser.error(f"{options.studies} has no study {options.study!r}, it has {', '.join(tables)}")
    options.study = Study(options.study, tables[options.study])
    options.out = options.out or Path("work_dirs") / f"ablation_{options.study.name}"
    options.page = options.page or options.study.page
    options.rows = options.rows or list(options.study.rows)
    options.data = dict(word.partition("=")[::2] for word in options.data)
    for kind, given, known in (
        ("row", options.rows, options.study.rows),
        ("data set", options.data, options.study.data_sets),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"the study has no {kind} {unknown[0]!r}, it has {', '.join(known)}")
    return options


def _runs(study: Study, options: argparse.Namespace) -> Iterator[Run]:
    """Seed by seed, so that a page is fair whenever it is written."""
    seeds = {name: options.seeds or row.seeds for name, row in study.rows.items()}
    for seed in range(max(seeds.values())):
        for name, row in study.rows.items():
            if seed < seeds[name]:
                yield Run(row, seed, options.out / name / str(seed), study.data_sets[row.data].simulate)


def _root(data: DataSet, options: argparse.Namespace) -> str | None:
    return options.data.get(data.name) or data.root or (str(options.out / data.name) if data.simulate else None)


def _make_data(study: Study, options: argparse.Namespace) -> dict[str, Path]:
    """Roots of the data sets that the rows need and that there are; simulate what does not lie elsewhere."""
    roots = {}
    needed = {name for row in options.rows for name in (study.rows[row].data, *study.rows[row].tests)}
    for name, data in study.data_sets.items():
        if name not in needed:
            continue
        root = Path(_root(data, options) or "")
        if data.simulate and name not in options.data and not (root / "kitti_infos_val.pkl").exists():
            _simulate(root, **data.simulate)
        if _root(data, options) and root.is_dir():
            roots[name] = root.absolute()
        else:
            print(f"ablation: no data set {name}, nothing is trained or tested on it; --data {name}=DIR names it")
    return roots


def _simulate(root: Path, scans: int, held: int, images: bool) -> None:
    from lidar_rank.kitti import prepare_kitti
    from lidar_rank.simulation import simulate_kitti
    from lidar_rank.simulation.camera import IMAGE_SIZE

    simulate_kitti(root, scans=scans + held, seed=0, val=held, images=images, jobs=1)
    prepare_kitti(root, image_size=None if images else IMAGE_SIZE)


def _do(run: Run, study: Study, roots: dict[str, Path], tests: Sequence[str]) -> None:
    """Train a run that has no result, then test it."""
    data, result = study.data_sets[run.row.data], run.result()
    if result is None:
        run.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(run.folder / "run.json", (json.dumps(run.settings, indent=2) + "\n").encode())
        command = [sys.executable, "-m", "lidar_rank.cli", "train", *run.row.arguments, "--resume"]
        command += ["--work-dir", str(run.folder), "--seed", str(run.seed), *_options(run.row.options)]
        subprocess.run(command, check=True, env={**os.environ, data.variable: str(roots[data.name])})
    for name in tests:
        result = {**(result or {}), name: _measure(run, study, study.data_sets[name], roots[name])}
        write_atomically(run.folder / "result.json", (json.dumps(result, indent=2) + "\n").encode())


def _check_begun(run: Run) -> None:
    """Refuse a folder that was begun with other settings: its numbers would not compare."""
    path = run.folder / "run.json"
    if path.exists() and json.loads(path.read_text()) != run.settings:
        raise SystemExit(f"ablation: {run.folder} was begun with other settings ({path} has them); name another --out")


def _options(options: dict[str, Any]) -> list[str]:
    """Settings as the command line takes them, each one word."""
    words = [f"{key}={value!r}".replace(", ", ",") for key, value in options.items()]
    return ["--cfg-options", *words] if words else []


def _measure(run: Run, study: Study, data: DataSet, root: Path) -> dict[str, float]:
    """Metrics of a data set's test frames and, where a column shows them, shares of reversed pairs, in percent."""
    from lidar_rank.analysis import Diagnosis
    from lidar_rank.mm import running

    checkpoint = str(run.folder / Path((run.folder / "last_checkpoint").read_text().strip()).name)
    options = {**run.row.options, **study.test_options}
    folder, found = run.folder / f"test_{data.name}", run.folder / f"test_{data.name}.json"
    if not any(key.startswith("reversed/") for keys in study.columns.values() for key in keys):
        os.environ[data.variable] = str(root)
        config = str(config_folder() / run.row.config)
        metrics = running.test(config, checkpoint, loss=run.row.loss, work_dir=str(folder), options=options)
        return {key: study.scale * value for key, value in metrics.items()}
    command = [sys.executable, "-m", "lidar_rank.cli", "analyze", *run.row.arguments, checkpoint]
    command += ["--work-dir", str(folder), "--out", str(found), *_options(options)]
    subprocess.run(command, check=True, env={**os.environ, data.variable: str(root)})
    diagnosis = Diagnosis.from_json(json.loads(found.read_text()))
    metrics = {key: study.scale * value for key, value in diagnosis.metrics.items()}
    return metrics | {f"reversed/{kind}": 100 * count.ratio for kind, count in vars(diagnosis.pairs).items()}


def _write_page(study: Study, runs: Sequence[Run], options: argparse.Namespace) -> None:
    parts = [_introduction(study, runs, options)]
    parts += [_section(study, data, runs) for data in study.data_sets.values() if _results(runs, data)]
    parts.append(_commands(study, options))
    options.page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.page, "\n".join(parts).encode())


def _introduction(study: Study, runs: Sequence[Run], options: argparse.Namespace) -> str:
    done = sum(run.result() is not None for run in runs)
    given = " --data " + " ".join(f"{name}={root}" for name, root in options.data.items()) if options.data else ""
    return f"""# {study.title}

{study.text}
± is the standard deviation over seeds.

{done} of {len(runs)} runs are done.
```
python tools/ablation.py {study.name}{given}
```
does the others and writes this page anew.
"""


def _results(runs: Sequence[Run], data: DataSet) -> dict[str, list[dict[str, float]]]:
    """Metrics on a data set, seed by seed, of every row that has any."""
    results: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        result = run.result() or {}
        if data.name in result:
            results.setdefault(run.row.name, []).append(result[data.name])
    return results


def _section(study: Study, data: DataSet, runs: Sequence[Run]) -> str:
    lines = [f"## {data.title}", *([data.text] if data.text else []), ""]
    lines += [f"| loss | seeds | {' | '.join(study.columns)} |", "| --- " * (2 + len(study.columns)) + "|"]
    results = _results(runs, data)
    for row in study.rows:
        if row in results:
            cells = (" / ".join(_cell(results[row], key) for key in keys) for keys in study.columns.values())
            lines.append(f"| {row} | {len(results[row])} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _behind(study, results)]) + "\n"


def _cell(results: list[dict[str, float]], key: str) -> str:
    values, digits = [result[key] for result in results], 2 if key.startswith("reversed") else 1
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def _behind(study: Study, results: dict[str, list[dict[str, float]]]) -> str:
    """A sentence on the rows whose mean is not above that of the first row of their detector."""
    means = {row: mean(result[study.score] for result in own) for row, own in results.items()}
    first = {row.detector: name for name, row in reversed(study.rows.items())}
    behind = [
        row
        for row in study.rows
        if row in means and row != (other := first[study.rows[row].detector]) and means[row] <= means.get(other, -1)
    ]
    return f"Not above the first row of their detector in `{study.score}`: {', '.join(behind) or 'none'}."


def _commands(study: Study, options: argparse.Namespace) -> str:
    """What trains every row, as a reader would type it."""
    lines = [
        "## Commands",
        "SEED is 0, 1 and so on; `tools/ablation.py` gives these commands and tests afterwards.",
        "```",
    ]
    if study.options:
        _, *words = _options(study.options)
        lines.append('OPTIONS="' + " \\\n  ".join(words) + '"')
    for name, row in study.rows.items():
        data = study.data_sets[row.data]
        own = {key: value for key, value in row.options.items() if study.options.get(key) != value}
        words = ["--cfg-options", *(["$OPTIONS"] if study.options else []), *_options(own)[1:]]
        lines.append(
            f"{data.variable}={_root(data, options)} lidar-rank train {' '.join(row.arguments)} --seed SEED"
            f"{' ' + ' '.join(words) if words[1:] else ''}  # {name}"
        )
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    main()
