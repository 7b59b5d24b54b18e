"""Time each part of a training step on a CPU, with our convolutions and with those of other packages in turn.

    python tools/bench/bench_step.py [--models "small SECOND" ...] [--threads 1 2] [--neighbours 0 1] [--steps 12]
                                     [--against spconv | dense]

``ours`` is compared with spconv and torch's dense convolutions (``--against spconv``), or with torch's dense
convolutions alone (``--against dense``). Each side has its own process, which builds the detector of the config with
the same weights and loads the same batches. The two processes take their steps in turn, so that other programs disturb
both alike. The times are medians in milliseconds per scan; "ratio" is the median over pairs of steps of ours / theirs.
Processor time counts all threads of a process. Memory is the largest resident size of a process, with all its
libraries. A neighbour is a process that keeps one core busy. Without ``--root`` the scans are simulated.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

# Config and scans in a batch.
MODELS: Final = {
    "small SECOND": ("second/second_kitti-car_small.py", 4),
    "ablation-size SECOND": ("second/second_kitti-car_tiny.py", 2),
    "small SA-SSD": ("sassd/sassd_kitti-car_small.py", 4),
    "full-size SECOND": ("second/second_kitti-car.py", 1),
}
OURS: Final = "ours"
# Backend of sparse convolution of each side.
SPARSE: Final = {OURS: "native", "spconv": "spconv", "dense": "native"}
PARTS: Final = (
    "data",
    "voxels",
    "sparse forward",
    "BEV forward",
    "targets and losses",
    "BEV backward",
    "sparse backward",
    "optimizer",
)
WARM_UP: Final = 2
BUSY: Final = "while True: pass"


def main() -> None:
    """Print one table for each model, number of threads and number of neighbours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--neighbours", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--against", choices=[side for side in SPARSE if side != OURS], default="spconv")
    parser.add_argument("--root", type=Path, help="prepared KITTI root; default: simulated scans")
    parser.add_argument("--worker", nargs=3, metavar=("SIDE", "CONFIG", "SCANS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        side, config, scans = options.worker
        work(side, config, int(scans))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or simulate(Path(folder) / "kitti")
        for model in options.models:
            for threads in options.threads:
                for neighbours in options.neighbours:
                    compare(model, options.against, root, threads, neighbours, options.steps)


def simulate(root: Path) -> Path:
    """Simulate and prepare a few scans."""
    from lidar_rank.kitti import prepare_kitti
    from lidar_rank.simulation import simulate_kitti

    simulate_kitti(root, scans=24, seed=0, val=4, images=False)
    prepare_kitti(root, image_size=(1242, 375), progress=False)
    return root


def compare(model: str, against: str, root: Path, threads: int, neighbours: int, steps: int) -> None:
    """Let both sides take steps in turn, and print a table."""
    (config, scans), sides = MODELS[model], (OURS, against)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(name, config, scans, root, threads)) for name in sides}
        for process in workers.values():
            answer(process)  # the detector is built
        for _ in range(neighbours):
            stack.enter_context(stopped_at_exit(subprocess.Popen([sys.executable, "-c", BUSY])))
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for step in range(WARM_UP + steps):
            for name, process in workers.items():
                print(step, file=process.stdin, flush=True)
                taken[name].append(answer(process))
    check_losses({name: results[0]["loss"] for name, results in taken.items()})
    print(f"\n### {model}: batch of {scans}, {threads} threads, {neighbours} busy neighbours, {steps} steps\n")
    print(f"| ms per scan | {OURS} | {against} | ratio |\n| --- | ---: | ---: | ---: |")
    for part in (*PARTS, "step", "processor"):
        ours, theirs = ([result[part] for result in taken[name][WARM_UP:]] for name in sides)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        times = (1e3 * statistics.median(own) / scans for own in (ours, theirs))
        print(f"| {part} | {' | '.join(f'{own:.1f}' for own in times)} | {ratio:.2f} |")
    memory = [max(result["memory_mb"] for result in taken[name]) for name in sides]
    print(f"| peak memory, MB | {memory[0]:.0f} | {memory[1]:.0f} | {memory[0] / memory[1]:.2f} |", flush=True)


def check_losses(first: dict[str, float]) -> None:
    """Both sides compute the same detector, which shows before the first change of its weights."""
    ours, theirs = first.values()
    if abs(ours - theirs) > 1e-4 * theirs:
        raise SystemExit(f"the losses of the two sides differ in the first step: {first}")


@contextmanager
def worker(side: str, config: str, scans: int, root: Path, threads: int) -> Iterator[subprocess.Popen]:
    """A process with one side that takes a step for each line that it reads."""
    variables = {
        **os.environ,
        "LIDAR_RANK_SPARSE": SPARSE[side],
        "KITTI_ROOT": str(root),
        "OMP_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-W", "ignore", __file__, "--worker", side, config, str(scans)]
    pipe = subprocess.PIPE
    with stopped_at_exit(subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, text=True)) as process:
        yield process


@contextmanager
def stopped_at_exit(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """Kill the process afterwards."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answer(process: subprocess.Popen) -> dict[str, float]:
    """The next result of a worker; other lines that it prints are skipped."""
    for line in process.stdout:
        if line.startswith("RESULT"):
            return json.loads(line.removeprefix("RESULT"))
    raise SystemExit("a worker stopped; its error is above")


def work(side: str, config: str, scans: int) -> None:
    """Build the detector as ``lidar-rank train`` does, then take a step for each line of the standard input."""
    from lidar_rank.settings import prepare_for_cpus

    prepare_for_cpus()
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from lidar_rank.mm.configs import load_config
    from lidar_rank.mm.registry import MODELS as DETECTORS

    cfg = load_config(str(Path(__file__).parents[2] / "configs" / config))
    init_default_scope(cfg.default_scope)
    seed(0)
    model = DETECTORS.build(cfg.model)
    model.init_weights()
    model.train()
    if side != OURS:
        use_torchs_convolutions(model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    loader_cfg = cfg.train_dataloader
    loader_cfg.update(batch_size=scans, num_workers=0, persistent_workers=False, dataset=loader_cfg.dataset)
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    batches = (batch for _ in iter(int, 1) for batch in loader)
    steps = Steps(model, wrapper, batches)
    print("RESULT{}", flush=True)
    for line in sys.stdin:
        seed(int(line))
        print("RESULT" + json.dumps(steps.take()), flush=True)


def use_torchs_convolutions(model: Any) -> None:
    """Undo ``lidar_rank.convolutions.speed_up``."""
    from torch import nn

    for module in model.modules():
        for plain in (nn.Conv2d, nn.ConvTranspose2d):
            if isinstance(module, plain):
                module.__class__ = plain


def seed(number: int) -> None:
    """Seed what the detector and the host's augmentation draw from."""
    import numpy as np
    import torch

    np.random.seed(number)  # noqa: NPY002 - the host draws from it
    torch.manual_seed(number)


class Steps:
    """Training steps whose parts are timed by wrapping the methods of the detector."""

    def __init__(self, model: Any, wrapper: Any, batches: Iterator[Any]) -> None:
        self.model, self.wrapper, self.batches = model, wrapper, batches
        self.seconds: dict[str, float] = {}
        self.backward_reached_sparse = 0.0
        self._time_calls(model.middle_encoder, "forward", "sparse forward")
        self._time_calls(model.bbox_head, "forward", "head")
        self._time_calls(model.bbox_head, "loss", "head and losses")
        if getattr(model, "auxiliary", None) is not None:
            self._time_calls(model.auxiliary, "loss", "auxiliary losses")
        model.middle_encoder.register_forward_hook(self._watch_backward)

    def take(self) -> dict[str, float]:
        """Take one step: seconds of each part, the loss and the memory."""
        self.seconds = {}
        start, processor = time.perf_counter(), time.process_time()
        batch = self._timed("data", lambda: next(self.batches))
        inputs = self._timed("voxels", lambda: self.model.data_preprocessor(batch, training=True))
        losses = self._timed("forward", lambda: self.model(**inputs, mode="loss"))
        loss, _ = self.model.parse_losses(losses)
        before = time.perf_counter()
        self._timed("backward", lambda: self.wrapper.backward(loss))
        self._timed("optimizer", lambda: (self.wrapper.step(), self.wrapper.zero_grad()))
        seconds = self.seconds
        of_losses = seconds["head and losses"] - seconds["head"] + seconds.get("auxiliary losses", 0)
        of_bev = self.backward_reached_sparse - before
        return {
            **{part: seconds[part] for part in ("data", "voxels", "sparse forward", "optimizer")},
            "targets and losses": of_losses,
            "BEV forward": seconds["forward"] - seconds["sparse forward"] - of_losses,
            "BEV backward": of_bev,
            "sparse backward": seconds["backward"] - of_bev,
            "step": time.perf_counter() - start,
            "processor": time.process_time() - processor,
            "loss": loss.item(),
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    def _time_calls(self, module: Any, method: str, part: str) -> None:
        original = getattr(module, method)
        setattr(module, method, lambda *args, **kwargs: self._timed(part, lambda: original(*args, **kwargs)))

    def _timed(self, part: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start
        return result

    def _watch_backward(self, _module: Any, _inputs: Any, output: Any) -> None:
        """Note when the backward pass comes to the sparse encoder."""
        bev = output[0] if isinstance(output, tuple) else output
        bev.register_hook(lambda _: setattr(self, "backward_reached_sparse", time.perf_counter()))


if __name__ == "__main__":
    main()
