"""Train a LiDAR detector for a given time, and report its speed, memory, synchronisations and AP.

    python tools/bench/bench_training.py configs/second/second_kitti-car.py --data data/simulated --out results

The first steps are measured, after some that only warm up; on a GPU with spconv-triton with float32 and with TF32
products in its layers. They say how many steps fit into the time. As many are then trained, from new weights, with one
cycle of the learning rate and the mild augmentation of the small configs. The detector is then tested on the split val
of --data and of every --test root. A synchronisation is a place in a step where the CPU waits for the GPU, as torch's
debug mode counts them. The host's logging, which reads every loss once per step, is not counted.

Every number is in OUT/NAME.json as soon as it is known. Rows of a table are added to OUT/results.md at the end, also if
`timeout -s INT` ends this program.
"""

import argparse
import json
import os
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner, TestLoop

from lidar_rank import sparse
from lidar_rank.config_files import mild
from lidar_rank.mm.checkpoints import write_weights
from lidar_rank.mm.configs import load_config

METRICS: Final = ("3d", "bev", "3d@0.5", "bev@0.5")
SYNCHRONISED_STEPS: Final = 5
SET_UP_S: Final = 8.0  # from the end of the probe to the first step
HEADER: Final = """
| detector | part | steps | ms per step | waiting for data, ms | samples/s | memory, GB | synchronisations per step |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


class Meter(Hook):
    """Time and memory of the steps after the first ``warm_up``; synchronisations in the last of these."""

    priority = "HIGHEST"  # so that the other hooks' work counts as part of a step, but not for its synchronisations

    def __init__(self, warm_up: int, deadline: float = float("inf")) -> None:
        self.warm_up, self.deadline = warm_up, deadline
        self.steps, self.waited_s, self.samples = 0, 0.0, 0
        self.places: Counter[str] = Counter()
        self._begin = self._left = 0.0
        self._watch = ExitStack()
        self._caught: list[warnings.WarningMessage] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:  # noqa: ARG002
        """Start to measure."""
        if runner.iter == self.warm_up:
            synchronise()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            self._begin = self._left = time.perf_counter()
        if runner.iter >= self.warm_up:
            self.waited_s += time.perf_counter() - self._left
            self.samples += len(data_batch["data_samples"])
        elif runner.iter >= self.warm_up - SYNCHRONISED_STEPS and torch.cuda.is_available():
            self._caught = self._watch.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            self._watch.callback(torch.cuda.set_sync_debug_mode, "default")

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:  # noqa: ARG002
        """Count."""
        self._watch.close()
        self.places.update(place(w) for w in self._caught if "synchronizing" in str(w.message))
        self._caught = []
        if runner.iter >= self.warm_up:
            self.steps += 1
            self._left = time.perf_counter()
        if time.perf_counter() > self.deadline:
            runner.train_loop.stop_training = True

    def result(self) -> dict[str, Any]:
        """What was measured; nothing, if all steps were spent on warming up."""
        if not self.steps:
            return {}
        synchronise()
        seconds, steps = time.perf_counter() - self._begin, self.steps
        memory = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else float("nan")
        return {
            "steps": self.steps,
            "ms_per_step": 1e3 * seconds / steps,
            "ms_waiting_for_data": 1e3 * self.waited_s / steps,
            "samples_per_s": self.samples / seconds,
            "peak_memory_gb": memory,
            "synchronisations_per_step": sum(self.places.values()) / SYNCHRONISED_STEPS,
            "synchronisations_by_place": {k: n / SYNCHRONISED_STEPS for k, n in self.places.most_common(25)},
        }


def place(warning: warnings.WarningMessage) -> str:
    """File and line of a warning, without the folders above the package."""
    return f"{'/'.join(Path(warning.filename).parts[-3:])}:{warning.lineno}"


def synchronise() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def recipe(cfg: Config, args: argparse.Namespace, steps: int) -> Config:
    """The config with ``steps`` steps on one device instead of its epochs on eight."""
    data = cfg.train_dataloader.dataset.dataset
    data.pipeline = mild(data.pipeline)
    cfg.train_dataloader.update(batch_size=args.batch_size, num_workers=args.workers)
    cfg.train_dataloader.sampler = {"type": "InfiniteSampler", "shuffle": True}
    cfg.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": steps}
    cfg.optim_wrapper.optimizer = {"type": "AdamW", "lr": 0.0003, "betas": (0.95, 0.99), "weight_decay": 0.01}
    cycle = {"type": "OneCycleLR", "eta_max": 0.003, "pct_start": 0.4, "total_steps": steps, "by_epoch": False}
    cfg.param_scheduler = [cycle]
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.logger.interval = 50
    cfg.log_processor = {"by_epoch": False}
    cfg.visualizer = {"type": "Visualizer", "vis_backends": []}
    cfg.env_cfg.cudnn_benchmark = True
    cfg.randomness = {"seed": args.seed}
    return cfg


def train(args: argparse.Namespace, name: str, steps: int, meter: Meter) -> Runner:
    """Train from new weights."""
    cfg = recipe(load_config(args.config, args.loss), args, steps)
    cfg.work_dir = str(args.work_dir / name)
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    runner.register_hook(meter)
    runner.train()
    return runner


def probe(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Speed of the first steps, by the kind of products."""
    measured = {}
    for kind in ("float32", "TF32") if set_tf32(False) else ("float32",):
        set_tf32(kind == "TF32")
        meter = Meter(args.warm_up)
        train(args, f"{args.name}_{kind}", args.warm_up + args.probe, meter)
        measured[kind] = meter.result()
    return measured


def set_tf32(allowed: bool) -> bool:
    """Switch TF32 products in sparse convolutions and elsewhere; whether there is anything to switch."""
    if sparse.backend().__name__ != "spconv_triton.pytorch":
        return False
    from spconv_triton import constants

    constants.SPCONV_ALLOW_TF32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    return True


def test(runner: Runner, root: Path, args: argparse.Namespace) -> dict[str, Any]:
    """AP of the network on the split val of a root."""
    cfg = load_config(args.config, args.loss)
    loader, evaluator = cfg.test_dataloader, cfg.test_evaluator
    loader.dataset.data_root = evaluator.data_root = str(root)
    loader.update(batch_size=args.batch_size, num_workers=args.workers, persistent_workers=False)
    loop = runner._test_loop = TestLoop(runner, loader, evaluator)
    begin = time.perf_counter()
    found = loop.run()
    seconds = time.perf_counter() - begin
    by_difficulty = ("easy", "moderate", "hard")
    ap = {metric: [found[f"kitti/Car/{metric}/R40/{d}"] for d in by_difficulty] for metric in METRICS}
    frames = len(loop.dataloader.dataset)
    moderate = {name: value for name, value in found.items() if name.endswith("/R40/moderate")}
    return {"frames": frames, "samples_per_s": frames / seconds, "ap_easy_moderate_hard": ap, "moderate": moderate}


def measure(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Everything, in ``record`` and in the JSON file as soon as it is known."""
    begin = time.perf_counter()

    def keep(key: str, value: Any) -> None:
        record[key] = value
        (args.out / f"{args.name}.json").write_text(json.dumps(record, indent=1) + "\n")

    keep("backend", sparse.backend().__name__)
    keep("device", torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU")
    keep("batch_size", args.batch_size)
    keep("loss", args.loss)
    keep("probe", probe(args))
    step_s = list(record["probe"].values())[-1]["ms_per_step"] / 1e3
    left_s = args.seconds - SET_UP_S - (time.perf_counter() - begin)
    steps = max(int(0.95 * left_s / step_s), 2 * args.warm_up)
    meter = Meter(args.warm_up, deadline=begin + args.seconds)
    runner = train(args, args.name, steps, meter)
    keep("planned_steps", steps)
    keep("training", meter.result())
    if args.weights:
        write_weights(runner.model.state_dict(), args.weights)
    record["test"] = {}
    for root in (args.data, *args.test):
        keep("test", record["test"] | {root.name: test(runner, root, args)})


def table(name: str, record: dict[str, Any]) -> str:
    """What is known, in Markdown."""
    runs = {f"{kind}, first steps": run for kind, run in record.get("probe", {}).items()}
    runs |= {"the training": record["training"]} if record.get("training") else {}
    lines = [HEADER] + [
        f"| {name} | {kind} | {run['steps']} | {run['ms_per_step']:.1f} | {run['ms_waiting_for_data']:.1f} "
        f"| {run['samples_per_s']:.1f} | {run['peak_memory_gb']:.2f} | {run['synchronisations_per_step']:.1f} |"
        for kind, run in runs.items()
    ]
    if record.get("test"):
        lines.append(
            "\n| detector | tested on | frames | scans/s | "
            + " | ".join(f"AP {metric}, easy / moderate / hard" for metric in METRICS)
            + " |"
        )
        lines.append("| --- | --- | ---: | ---: |" + " --- |" * len(METRICS))
    for root, found in record.get("test", {}).items():
        ap = [" / ".join(f"{v:.1f}" for v in found["ap_easy_moderate_hard"][metric]) for metric in METRICS]
        lines.append(f"| {name} | {root} | {found['frames']} | {found['samples_per_s']:.1f} | {' | '.join(ap)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--loss", help="name of a loss to put in")
    parser.add_argument("--name", default=None, help="of the files; default that of the config")
    parser.add_argument("--data", type=Path, required=True, help="prepared KITTI root to train on")
    parser.add_argument("--test", type=Path, nargs="*", default=[], help="further prepared roots to test on")
    parser.add_argument("--seconds", type=float, default=240, help="for the first steps and the training")
    parser.add_argument("--warm-up", type=int, default=15, help="steps that are not timed")
    parser.add_argument("--probe", type=int, default=15, help="steps that are timed before the training")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=max(len(os.sched_getaffinity(0)) - 3, 1))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="also write the trained weights, as .safetensors")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/bench_training"))
    args = parser.parse_args()
    args.name = args.name or Path(args.config).stem
    os.environ["KITTI_ROOT"] = str(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {}
    try:
        measure(args, record)
    finally:
        with (args.out / "results.md").open("a") as file:
            file.write(table(args.name, record))


if __name__ == "__main__":
    main()
