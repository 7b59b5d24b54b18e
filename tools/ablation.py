"""Measure what each loss is worth: every row of a study on the same data, each at its best setting, with several seeds.

    python tools/ablation.py 3d --phase tune            # hours; start it again to go on where it stopped
    python tools/ablation.py 3d                         # the runs that the page shows, each with what tuning chose
    python tools/ablation.py 3d --rows second/focal second/dr --jobs 4
    python tools/ablation.py 2d --data bccd=/disk/BCCD  # where a data set lies
    python tools/ablation.py 3d --slurm partition=cpu time=60  # one Slurm job for each run, of at most 60 minutes
    python tools/ablation.py 2d --report                # write the page from the runs that are done

tools/ablation.toml says what a study is. A run is one ``lidar-rank train`` in a folder of its own, which keeps the
config, the weights and the log, then a test on each data set, whose numbers go to result.json there. What is done is
skipped, and a run that was killed resumes at its last epoch. Each run has one thread; runs go side by side, one on each
core. All rows of a seed start from the same random numbers, so that they are compared in pairs.

Beside the page lies what every run measured, in a file of the page's name that ends in .json. A study goes on from it
where the runs themselves are not, as in a fresh clone; with another --page it does them all again, as it does those
whose config has changed since.

Tuning tries every trial of every row, as many for each, and tests on the study's tuning data alone, which no page
shows and no row is trained or tested on. The trial with the highest mean score is the setting of the row.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock, Timeout

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script finds its neighbours

from lidar_rank.kitti.files import write_atomically
from lidar_rank.processes import process_pool
from tools import ablation_record as record
from tools.ablation_page import resampled_coco_ap, resampled_scores, write_page
from tools.ablation_table import DataSet, Row, Study, config_digest, options_as_words, read_studies, root_of

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "tools" / "ablation.toml"
PREPARED = "kitti_infos_val.pkl"  # what a test on a KITTI-format root reads first


@dataclass(frozen=True)
class Run:
    """One training and its tests.

    Attributes:
        row: What is trained, with the settings of this run.
        seed: Of weights, order and augmentation.
        folder: Where everything goes.
        data: What it is trained on.
        tests: What it is tested on.
        test_options: Settings of the tests beside those of the training.
        trial: Folder of the trial with the same settings and seed, whose training is the same.
    """

    row: Row
    seed: int
    folder: Path
    data: DataSet
    tests: tuple[DataSet, ...]
    test_options: dict[str, Any] = field(hash=False)
    trial: Path | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the numbers of a run, as JSON gives it back."""
        row = {key: value for key, value in asdict(self.row).items() if key not in ("tests", "seeds", "trials", "kept")}
        digest = config_digest(self.row.config, self.row.loss, json.dumps(self.row.options))
        settings: dict[str, Any] = json.loads(
            json.dumps({**row, "simulate": self.data.simulate, "config_digest": digest})
        )
        return settings

    def result(self) -> dict[str, Any]:
        """``seconds`` of training, and metrics in percent by data set; empty before the first test is done.

        A test on scans that were simulated in another way, such as fewer of them, is left out: it is done again.
        """
        path = self.folder / "result.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        other = {data.name for data in self.tests if found.get(data.name, {}).get("simulate") != data.simulate}
        return {name: value for name, value in found.items() if name not in other}

    def missing(self, roots: dict[str, Path]) -> list[DataSet]:
        """Data sets at hand that have no result."""
        return [data for data in self.tests if data.name in roots and data.name not in self.result()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing, and write the page after each."""
    options = _arguments(arguments)
    study: Study = options.study
    tuning = list(_tuning_runs(study, options))
    record.restore(tuning, options)
    runs = tuning if options.phase == "tune" else list(_final_runs(study, options))
    record.restore(runs, options)

    def show() -> None:
        done = sum(bool(run.result()) for run in runs)
        planned = len(tuning) if options.phase == "tune" else study.num_final_runs(options.seeds)
        print(f"ablation {study.name}: {done} of {planned} runs of phase {options.phase} are done", flush=True)
        record.keep((*tuning, *runs), options)
        if options.phase == "final":
            write_page(study, runs, tuning, options)

    for run in (*tuning, *runs):  # a trial of other settings would be chosen under a wrong name
        _check_begun(run)
    failed = []
    if not options.report:
        roots = _make_data(study, runs, options)
        for wave in _waves(runs, roots, options):
            failed += _do_all(wave, study, roots, options, show)
    show()
    if failed:
        raise SystemExit("\n".join(["ablation: these runs failed; start again to retry them", *sorted(failed)]))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a study in the table of studies, such as 2d")
    parser.add_argument("--phase", choices=("tune", "final"), default="final", help="default final")
    parser.add_argument("--studies", type=Path, default=STUDIES, help="table of studies (default tools/ablation.toml)")
    parser.add_argument("--out", type=Path, help="runs and simulated data (default work_dirs/ablation_STUDY)")
    parser.add_argument("--page", type=Path, help="file to write (default that of the study)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="default all")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds of a row (default that of the study)")
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=DIR", help="where data sets lie")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), metavar="N", help="runs side by side (default cores)"
    )
    parser.add_argument(
        "--slurm",
        nargs="*",
        metavar="KEY=VALUE",
        help="a Slurm job for each run, with these settings of sbatch (needs pip install submitit)",
    )
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    studies = read_studies(options.studies)
    if options.study not in studies:
        parser.error(f"{options.studies} has no study {options.study!r}, it has {', '.join(studies)}")
    options.study = studies[options.study]
    if options.phase == "tune" and not options.study.tuning:
        parser.error(f"the study {options.study.name} has no tuning")
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


def _tuning_runs(study: Study, options: argparse.Namespace) -> Iterator[Run]:
    """Every trial of every row, tested on the tuning data and on nothing else."""
    if not study.tuning:
        return
    data = (study.data_sets[study.tuning.data],)
    options_of_tests = {**study.test_options, **study.tuning.options}
    for seed in range(study.tuning.seeds):
        for row in study.rows.values():
            for number, trial in enumerate(row.trials):
                folder = options.out / "tune" / row.name / str(number) / str(seed)
                yield Run(row.with_options(trial), seed, folder, study.data_sets[row.data], data, options_of_tests)


def _final_runs(study: Study, options: argparse.Namespace) -> Iterator[Run]:
    """Seed by seed, so that a page is fair whenever it is written, of the rows whose tuning is done."""
    rows = [
        row.with_options(choice) for row in study.rows.values() if (choice := choose(study, row, options)) is not None
    ]
    tests = {row.name: tuple(study.data_sets[name] for name in row.tests) for row in rows}
    trials = {(run.seed, json.dumps(run.settings)): run.folder for run in _tuning_runs(study, options)}
    for seed in range(max((options.seeds or row.seeds for row in rows), default=0)):
        for row in rows:
            if seed < (options.seeds or row.seeds):
                folder, data = options.out / row.name / str(seed), study.data_sets[row.data]
                run = Run(row, seed, folder, data, tests[row.name], study.test_options)
                yield replace(run, trial=trials.get((seed, json.dumps(run.settings))))


def choose(study: Study, row: Row, options: argparse.Namespace) -> dict[str, Any] | None:
    """The best trial of a row by its mean score on the tuning data, or None while a trial is missing.

    A row without trials takes those of ``row.tuned_as``, or needs none.
    """
    tuned = study.rows[row.tuned_as] if row.tuned_as else row
    if not study.tuning or not tuned.trials:
        return {}
    scores = []
    for trial in range(len(tuned.trials)):
        of_seed = []
        for seed in range(study.tuning.seeds):
            path = options.out / "tune" / tuned.name / str(trial) / str(seed) / "result.json"
            found = json.loads(path.read_text()) if path.exists() else {}
            if study.tuning.data not in found:
                if row.name in options.rows and options.phase == "final" and not options.report:
                    raise SystemExit(
                        f"ablation: the tuning of {tuned.name} is not done ({path} is missing): "
                        f"python tools/ablation.py {study.name} --phase tune --rows {tuned.name}"
                    )
                return None
            of_seed.append(found[study.tuning.data]["metrics"][study.score])
        scores.append(mean(of_seed))
    return tuned.trials[scores.index(max(scores))]


def _waves(runs: Sequence[Run], roots: dict[str, Path], options: argparse.Namespace) -> list[list[Run]]:
    """Runs that start from random weights, then those that need the weights of another row."""
    wanted = [run for run in runs if run.row.name in options.rows and run.data.name in roots and run.missing(roots)]
    later = [run for run in wanted if _source(run.row)]
    sources = {(_source(run.row), run.seed) for run in later}
    first = [
        run
        for run in runs
        if (run in wanted and run not in later)
        or ((run.row.name, run.seed) in sources and run.data.name in roots and not _has_weights(run))
    ]
    return [first, later]


def _source(row: Row) -> str | None:
    return row.start or row.tests_of


def _make_data(study: Study, runs: Iterable[Run], options: argparse.Namespace) -> dict[str, Path]:
    """Roots of the data sets that the runs need and that there are; simulate what does not lie elsewhere."""
    roots = {}
    needed = {data.name for run in runs if run.row.name in options.rows for data in (run.data, *run.tests)}
    for name, data in study.data_sets.items():
        if name not in needed:
            continue
        root = Path(root_of(data, options) or "")
        if data.simulate and name not in options.data:
            _simulate_once(root, data.simulate)
        if root_of(data, options) and root.is_dir():
            if data.variable == "KITTI_ROOT" and not (root / PREPARED).exists():
                raise SystemExit(
                    f"ablation: the data set {name}, {root}, is not prepared ({PREPARED} is missing): "
                    f"lidar-rank create-data {root}"
                )
            roots[name] = root.absolute()
        else:
            print(f"ablation: no data set {name}, nothing is trained or tested on it; --data {name}=DIR names it")
    return roots


def _simulate_once(root: Path, settings: dict[str, Any]) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_suffix(".lock")):  # a second process of the study waits for the data
        if not (root / PREPARED).exists():
            _simulate(root, **settings)


def _simulate(root: Path, scans: int, held: int, seed: int, images: bool) -> None:
    from lidar_rank.kitti import prepare_kitti
    from lidar_rank.simulation import simulate_kitti
    from lidar_rank.simulation.camera import IMAGE_SIZE

    simulate_kitti(root, scans=scans + held, seed=seed, val=held, images=images, jobs=1)
    prepare_kitti(root, image_size=None if images else IMAGE_SIZE)


def _do_all(
    runs: Iterable[Run], study: Study, roots: dict[str, Path], options: argparse.Namespace, after_each: Any
) -> list[str]:
    """Do runs side by side; return a line for each that failed."""
    failed = []
    with _executor(options) as executor:
        started = {executor.submit(_do, run, study, roots): run for run in runs}
        for future in _finished(started):
            run = started[future]
            try:
                future.result()
            except Timeout:
                failed.append(f"{run.folder}: another process works on this run: wait for it, or stop it")
            except Exception as error:  # whatever ends one run, a time limit of Slurm included, leaves the others alone
                failed.append(f"{run.folder}: {_last_words(run) or error}")
            after_each()
    return failed


def _last_words(run: Run) -> str:
    """The last line of the newest log of a run, which says why it ended."""
    logs = sorted([*run.folder.glob("*.log"), *run.folder.glob("test_*/*.log")], key=lambda path: path.stat().st_mtime)
    return logs[-1].read_text(errors="replace").strip().rpartition("\n")[2] if logs else ""


def _executor(options: argparse.Namespace) -> Any:
    """What runs functions elsewhere: processes on this computer, or jobs of Slurm."""
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")  # one thread a run is fastest in all
    if options.slurm is None:
        return process_pool(options.jobs)
    import submitit  # on clusters only

    executor = submitit.SlurmExecutor(folder=options.out / "slurm")
    settings = dict(word.partition("=")[::2] for word in options.slurm)
    executor.update_parameters(**{key: int(value) if value.isdigit() else value for key, value in settings.items()})
    # A job starts in the current folder, and imports what is in the one above this script's.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return _Batch(executor)


class _Batch:
    """A submitit executor with the context manager that a pool of processes has."""

    def __init__(self, executor: Any) -> None:
        self.submit = executor.submit

    def __enter__(self) -> "_Batch":
        return self

    def __exit__(self, *_: object) -> None:
        """Jobs of Slurm live on their own."""


def _finished(started: Iterable[Any]) -> Iterator[Any]:
    """Futures as they are done; jobs of submitit are asked every second."""
    waiting = list(started)
    if all(isinstance(future, Future) for future in waiting):
        yield from as_completed(waiting)
        return
    while waiting:
        done = [job for job in waiting if job.done()]
        yield from done
        waiting = [job for job in waiting if job not in done]
        if waiting and not done:
            time.sleep(1)


def _do(run: Run, study: Study, roots: dict[str, Path]) -> None:
    """Train a run that has no result, or whose weights are not here, then test it.

    Raises:
        Timeout: another process, such as one that outlived a study that was killed, works on the run.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(run.folder / "lock", timeout=0):
        _do_alone(run, study, roots)


def _do_alone(run: Run, study: Study, roots: dict[str, Path]) -> None:
    result = run.result()
    if not (result and _has_weights(run)):
        (run.folder / "result.json").unlink(missing_ok=True)  # it may come from elsewhere, without weights
        write_atomically(run.folder / "run.json", (json.dumps(run.settings, indent=2) + "\n").encode())
        started = time.monotonic()
        if not run.row.tests_of:
            _train(run, roots)
        result = {"seconds": round(time.monotonic() - started)}
    for data in run.missing(roots):
        result |= {data.name: {**_measure(run, study, data, roots), "simulate": data.simulate}}
        write_atomically(run.folder / "result.json", (json.dumps(result, indent=2) + "\n").encode())


def _train(run: Run, roots: dict[str, Path]) -> None:
    if run.trial and (run.trial / "result.json").exists() and (run.trial / "last_checkpoint").exists():
        # The same settings, seed and data: it would give the same weights.
        kept = shutil.ignore_patterns("test_*", "*.json", "lock")
        shutil.copytree(run.trial, run.folder, ignore=kept, dirs_exist_ok=True)
        return
    options = options_as_words(_training_options(run))
    _lidar_rank(run, "train", "--resume", "--seed", str(run.seed), *options, roots=roots)


def _training_options(run: Run) -> dict[str, Any]:
    return {**run.row.options, "load_from": str(_source_weights(run))} if run.row.start else run.row.options


def _has_weights(run: Run) -> bool:
    """Whether there is something to test a run with; a run without a result may be half trained."""
    return bool(run.row.tests_of) or bool(run.result() and (run.folder / "last_checkpoint").exists())


def _weights(run: Run) -> Path:
    """What a run is tested with."""
    return _source_weights(run) if run.row.tests_of else _checkpoint(run.folder)


def _source_weights(run: Run) -> Path:
    depth = len(Path(run.row.name).parts) + 1
    return _checkpoint(run.folder.parents[depth - 1] / str(_source(run.row)) / str(run.seed))


def _checkpoint(folder: Path) -> Path:
    return folder / Path((folder / "last_checkpoint").read_text().strip()).name


def _lidar_rank(run: Run, command: str, *words: str, roots: dict[str, Path], data: DataSet | None = None) -> None:
    data = data or run.data
    folder = run.folder if command == "train" else run.folder / f"test_{data.name}"
    folder.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "lidar_rank.cli", command, *run.row.arguments]
    with (folder / f"{command}.log").open("ab") as log:
        subprocess.run(
            [*line, "--work-dir", str(folder), *words],
            check=True,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, data.variable: str(roots[data.name])},
        )


def _check_begun(run: Run) -> None:
    """Refuse a folder that was begun with other settings: its numbers would not compare."""
    path = run.folder / "run.json"
    if path.exists() and json.loads(path.read_text()) != run.settings:
        raise SystemExit(f"ablation: {run.folder} was begun with other settings ({path} has them); name another --out")


def _measure(run: Run, study: Study, data: DataSet, roots: dict[str, Path]) -> dict[str, Any]:
    """Metrics of a data set's test frames in percent, shares of reversed pairs, and the score of resampled frames."""
    options = {**run.row.options, **run.test_options}
    if not study.coco_files:
        return _analyze(run, study, data, roots, options)
    folder = run.folder / f"test_{data.name}"
    words = options_as_words({**options, study.coco_files: str(folder / "coco")})
    _lidar_rank(run, "test", str(_weights(run)), *words, roots=roots, data=data)
    logged = json.loads(max(folder.glob("*/*.json")).read_text())  # mmengine names it after the time of the test
    metrics = {name: study.scale * value for name, value in logged.items() if "/" in name}  # without times
    resampled = resampled_coco_ap(folder / "coco.gt.json", folder / "coco.bbox.json", study.resampled)
    return {"metrics": metrics, "resampled": resampled}


def _analyze(run: Run, study: Study, data: DataSet, roots: dict[str, Path], options: dict[str, Any]) -> dict[str, Any]:
    from lidar_rank.page import read_run
    from lidar_rank.page.measures import measure, measure_every_recall

    found = run.folder / f"test_{data.name}" / "run.json"
    checkpoint = str(_weights(run))
    _lidar_rank(run, "analyze", checkpoint, "--out", str(found), *options_as_words(options), roots=roots, data=data)
    analysed = read_run(found)
    metrics = {key: study.scale * value for key, value in analysed.diagnosis.metrics.items()}
    metrics |= {f"reversed/{kind}": 100 * count.ratio for kind, count in vars(analysed.diagnosis.pairs).items()}
    metrics["score_iou_correlation"] = 100 * analysed.diagnosis.score_iou_correlation
    class_name = study.score.split("/")[1]
    metrics["all_points"] = measure_every_recall(analysed.results, class_name)
    metrics["if_ranked_by_overlap"] = measure(analysed.results)[class_name].best_ap_percent
    return {"metrics": metrics, "resampled": resampled_scores(analysed.results, study)}


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
