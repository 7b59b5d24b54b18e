"""Commands: ``lidar-rank COMMAND --help`` teaches each.

A command imports what it needs when it runs: ``evaluate`` starts without torch, ``--help`` without anything.
"""

import argparse
import ast
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from lidar_rank import __version__, runs
from lidar_rank.config_files import check_before_import
from lidar_rank.settings import follow_device, prepare_for_cpus

# The extra of the package that has what a command imports; the others need "mmdet3d".
_EXTRA = {
    "evaluate": "evaluation",
    "simulate": "simulation",
    "report": "view",
    "view": "view",
    "doctor": "scans",
    "import": "scans",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Bad input is one line on stderr and status 2. A training that an error ends after its first step has the traceback
    in its log and on the console, and status 1.
    """
    options = build_parser().parse_args(arguments)
    prepare_for_cpus()
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # what reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit has nothing left to write
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, ImportError) as error:
        print(f"lidar-rank {options.command}: {error}{_how_to_install(error, options.command)}", file=sys.stderr)
        return 2
    except runs.TrainingError as error:
        print(f"lidar-rank {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _how_to_install(error: Exception, command: str) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return f": pip install 'lidar_rank[{_EXTRA.get(command, 'mmdet3d')}]' installs what this command needs"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands, from which the site of the documentation is made as well."""
    parser = argparse.ArgumentParser(
        prog="lidar-rank", description="Train and measure KITTI detectors with ranking and balanced losses."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_simulate,
        _add_import,
        _add_create_data,
        _add_train,
        _add_test,
        _add_predict,
        _add_models,
        _add_doctor,
        _add_evaluate,
        _add_analyze,
        _add_tune_weight,
        _add_report,
        _add_view,
        _add_demo,
    ):
        add(commands)
    return parser


def _add_command(commands: Any, name: str, run: Any, summary: str, example: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary.partition(" Sources:\n")[0],
        description=summary,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_simulate(commands: Any) -> None:
    command = _add_command(
        commands,
        "simulate",
        _simulate,
        "Make a KITTI-format data set by ray casting: 64-beam scans, camera images, labels, splits.",
        "lidar-rank simulate data/simulated --scans 500 --seed 0 --jobs 2 --no-images",
    )
    command.add_argument("out", type=Path, help="folder to make; an earlier simulated data set there is replaced")
    command.add_argument("--scans", type=int, required=True, metavar="N", help="number of scans")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default 0)")
    command.add_argument("--jobs", type=int, default=2, metavar="J", help="processes (default 2)")
    command.add_argument("--no-images", action="store_true", help="scans and labels only: much faster")
    command.add_argument("--val", type=int, metavar="N", help="held-back scans (default: a fifth)")
    command.add_argument(
        "--shard",
        metavar="K/N",
        help="write every N-th scan from the K-th on: N calls, e.g. of a Slurm array, make one data set on one disk",
    )


def _shard(text: str | None) -> tuple[int, int]:
    try:
        index, count = map(int, (text or "1/1").split("/"))
    except ValueError:
        raise ValueError(f"--shard takes K/N, such as 2/8, got {text!r}") from None
    return index, count


def _simulate(options: argparse.Namespace) -> None:
    from lidar_rank.simulation import simulate_kitti
    from lidar_rank.simulation.camera import IMAGE_SIZE

    simulate_kitti(
        options.out,
        scans=options.scans,
        seed=options.seed,
        jobs=options.jobs,
        images=not options.no_images,
        val=options.val,
        shard=_shard(options.shard),
    )
    size = " --image-size {} {}".format(*IMAGE_SIZE) if options.no_images else ""
    after = f" when all {options.shard.partition('/')[2]} shards are done" if options.shard else ""
    print(f"next{after}: lidar-rank create-data {quote(str(options.out))}{size}")


def _add_import(commands: Any) -> None:
    from lidar_rank.importing import FORMATS

    command = _add_command(
        commands,
        "import",
        _import,
        "Turn labelled scans of an annotation tool or another toolkit into a root that create-data and training take,"
        " without camera and calibration. Sources:\n"
        + "\n".join(f"  {name:<12}{what}" for name, what in FORMATS.items()),
        "lidar-rank import export/ --from cvat --out data/own --classes Car Pedestrian --map car=Car --height 1.9",
    )
    command.add_argument("folder", type=Path, help="what the tool exported, unpacked; it is only read")
    command.add_argument("--from", dest="source_format", required=True, choices=list(FORMATS), help="the tool")
    command.add_argument("--out", type=Path, required=True, help="root to write; an earlier import there is replaced")
    command.add_argument("--classes", nargs="+", metavar="NAME", help="classes to import (default: all)")
    command.add_argument(
        "--map", nargs="+", action=_KeyTexts, default={}, metavar="OLD=NEW", help="new names of classes, e.g. car=Car"
    )
    command.add_argument(
        "--val", type=int, metavar="N", help="held-back scans (default: as the source says, or a fifth)"
    )
    _add_sensor(command)


def _import(options: argparse.Namespace) -> None:
    from lidar_rank.importing import format_summary, import_data
    from lidar_rank.kitti.labelled import read_labelled_scans
    from lidar_rank.scans import doctor, read_scan

    summary = import_data(
        options.folder,
        options.out,
        source_format=options.source_format,
        classes=options.classes,
        class_map=options.map,
        val=options.val,
        frame=_sensor_frame(options),
        columns=options.columns,
        dtype=options.dtype,
        unit_m=options.unit,
    )
    files, boxes = read_labelled_scans(options.out)
    points = [read_scan(file) for file in files[: doctor.MAX_SCANS]]
    scans = [doctor.measure_scan(scan) for scan in points]
    findings = doctor.examine_scans(scans, _sensor_frame(options), options.unit)
    findings = findings or doctor.examine_boxes(points, boxes[: len(points)])
    if findings:
        print(doctor.format_findings(findings))
    print(format_summary(summary, options.out))


def _add_create_data(commands: Any) -> None:
    command = _add_command(
        commands,
        "create-data",
        _create_data,
        "Prepare a KITTI root for training and testing: point clouds cut to the image, object database, annotation"
        " files. A repeated or interrupted run keeps the frames that are complete.",
        "lidar-rank create-data data/kitti",
    )
    command.add_argument("root", type=Path, help="folder with ImageSets/ and with training/, testing/ or both")
    command.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="size of the images in pixels, for a root without image_2",
    )
    command.add_argument("--jobs", type=int, default=2, help="threads (default 2)")


def _create_data(options: argparse.Namespace) -> None:
    from lidar_rank.kitti import prepare_kitti

    size = options.image_size and tuple(options.image_size)
    summary = prepare_kitti(options.root, image_size=size, jobs=options.jobs)
    print("frames:", ", ".join(f"{split} {count}" for split, count in summary.frames.items()))
    if summary.in_train_and_val:
        print(f"in train and in val: {summary.in_train_and_val}, whose AP says nothing of new scans")
    print(f"prepared {summary.prepared}, kept {summary.kept} from an earlier run")
    if "train" in summary.frames:
        print("object database:", ", ".join(f"{name} {count}" for name, count in summary.database.items()) or "empty")
    if not summary.has_camera:
        for name, found in summary.classes.items():
            size = " x ".join(f"{length_m:g}" for length_m in found.size_m)
            print(f"{name}: {found.objects} objects, median size {size} m, bottom at {found.z_bottom_m:g} m")
        print(f"next: KITTI_ROOT={quote(str(options.root))} lidar-rank train second_own_small")
    if summary.ignored:
        print("left out, unknown classes:", ", ".join(f"{name} {count}" for name, count in summary.ignored.items()))


def _add_evaluate(commands: Any) -> None:
    command = _add_command(
        commands,
        "evaluate",
        _evaluate,
        "Compute the KITTI AP of result files, on the CPU and without torch. The official IoU thresholds are 0.7 for"
        " cars and 0.5 for pedestrians and cyclists.",
        "lidar-rank evaluate data/kitti/training/label_2 results --split data/kitti/ImageSets/val.txt --classes Car",
    )
    command.add_argument("label_dir", type=Path, help="folder of label files (training/label_2)")
    command.add_argument("result_dir", type=Path, help="folder of result files, one per frame")
    command.add_argument(
        "--split", type=Path, metavar="FILE", help="list of the frames to evaluate (default: every label file)"
    )
    command.add_argument(
        "--frames",
        choices=["labels", "results"],
        help="what to do with frames that have no result file. labels: nothing was found in them, so their objects"
        " count as missed; results: leave them out (default: stop with an error)",
    )
    command.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="default: Car, Pedestrian and Cyclist; with --bands all that are labelled",
    )
    command.add_argument(
        "--bands",
        type=float,
        nargs="+",
        metavar="M",
        help="AP by distance instead of KITTI's difficulties, for scans without a camera: where bands begin, such as"
        " 0 30 50",
    )
    command.add_argument(
        "--range",
        type=float,
        nargs=6,
        metavar=("X_MIN", "Y_MIN", "Z_MIN", "X_MAX", "Y_MAX", "Z_MAX"),
        help="what the detector sees, in metres in the LiDAR frame: objects outside, seen from above, count neither as"
        " found nor as missed, as with point_cloud_range of the evaluator in a config. Needs calib/ beside label_dir",
    )
    command.add_argument(
        "--iou",
        nargs="+",
        metavar="IOU",
        help="threshold for every class, such as 0.5, or of some, such as Car=0.7 Bus=0.5 (default: the official ones,"
        " and with --bands 0.5 for other classes)",
    )
    command.add_argument(
        "--extra-iou", type=float, nargs="+", default=[], metavar="IOU", help="further thresholds, for every class"
    )
    command.add_argument(
        "--min-height",
        choices=["lt", "le"],
        help="which objects are too low in the image to count: lt, those below the minimum height, as in the program"
        " that most published results were made with (default); le, also those of exactly the minimum height, as in"
        " newer devkits, OpenPCDet and mmdet3d",
    )
    command.add_argument(
        "--sampling",
        choices=["official", "recall"],
        help="of recall: official is the benchmark's (default); recall is for sets with fewer than 41 objects, on which"
        " the benchmark's AP cannot reach 100 (default with --bands)",
    )
    command.add_argument("--json", type=Path, metavar="OUT", help="also write the numbers to this file")


def _evaluate(options: argparse.Namespace) -> None:
    from lidar_rank.evaluation import evaluate_folders, format_table
    from lidar_rank.kitti.files import write_atomically

    if options.json:
        runs.check_output_file(options.json)
    if options.bands and options.min_height:
        raise ValueError("--min-height is a rule of KITTI's difficulties: leave it out, or --bands")
    overlaps = _iou_thresholds(options.iou)
    result = evaluate_folders(
        options.label_dir,
        options.result_dir,
        options.split,
        frames=options.frames,
        classes=options.classes,
        min_overlap=overlaps,
        extra_overlaps=options.extra_iou,
        drop_at_min_height=options.min_height == "le",
        sampling=options.sampling,
        bands_m=options.bands,
        range_m=options.range,
    )
    unknown = set(overlaps if isinstance(overlaps, dict) else ()) - set(result.curves)
    if unknown:
        raise ValueError(
            f"--iou names {min(unknown)!r}, which is not evaluated; the classes are {', '.join(result.curves)}"
        )
    print(format_table(result))
    if options.json:
        write_atomically(options.json, (json.dumps(result.ap_percent(), indent=2) + "\n").encode())


def _iou_thresholds(words: Sequence[str] | None) -> dict[str, float] | float | None:
    """One threshold for all classes, or CLASS=IOU for each of some."""
    if words is None:
        return None
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        pairs = [word.rsplit("=", 1) for word in words]
        return {name: float(value) for name, value in pairs}
    except ValueError:
        raise ValueError(f"--iou takes one number, or CLASS=IOU for each class, got {' '.join(words)}") from None


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", help="mmengine config, e.g. second_kitti-car_small")
    command.add_argument(
        "--loss", metavar="NAME", help="loss to put in, e.g. dr or rankdet+box-iou; a wrong name lists those that fit"
    )
    command.add_argument("--work-dir", help="logs and checkpoints (default work_dirs/<config name>[_<loss>])")
    command.add_argument(
        "--cfg-options",
        nargs="+",
        action=_KeyValues,
        metavar="KEY=VALUE",
        help="settings that replace those of the config, e.g. train_dataloader.batch_size=8",
    )


def _check_run(options: argparse.Namespace) -> None:
    """Check what needs no host, before its import, which takes seconds."""
    check_before_import(options.config, options.loss)
    if options.work_dir:
        runs.check_output_folder(options.work_dir)


def _add_train(commands: Any) -> None:
    command = _add_command(
        commands,
        "train",
        _train,
        "Train a config. KITTI_ROOT=DIR names the data (default data/kitti); torchrun starts the same on many GPUs.",
        "lidar-rank train second_kitti-car_small --loss dr",
    )
    _add_config(command)
    command.add_argument("--init", metavar="NAME", help="start from a model that 'lidar-rank models' lists")
    command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the work folder")
    command.add_argument("--amp", action="store_true", help="mixed precision (float16 on a GPU, bfloat16 on a CPU)")
    command.add_argument(
        "--seed", type=int, help="seed of weights, order and augmentation (default: the config's, else 0)"
    )
    command.add_argument(
        "--diagnose",
        nargs="?",
        type=int,
        const=100,
        metavar="N",
        help="every N steps (default 100) log how the detector ranks its boxes, and the gradient of each loss term",
    )


def _train(options: argparse.Namespace) -> None:
    from lidar_rank.weights import find_shipped

    _check_run(options)
    if options.diagnose is not None:
        runs.check_counts(diagnose=options.diagnose)
    if options.init:
        find_shipped(options.init)
    from lidar_rank.mm import running

    running.train(
        options.config,
        loss=options.loss,
        work_dir=options.work_dir,
        resume=options.resume,
        amp=options.amp,
        seed=options.seed,
        diagnose=options.diagnose,
        init=options.init,
        options=options.cfg_options,
    )


def _add_test(commands: Any) -> None:
    command = _add_command(
        commands,
        "test",
        _test,
        "Evaluate a checkpoint on the test set of its config.",
        "lidar-rank test second_kitti-car_small work_dirs/second_kitti-car_small_dr/epoch_40.pth"
        " --loss dr --out results",
    )
    _add_config(command)
    command.add_argument("checkpoint", help="weights trained with this config (.pth)")
    command.add_argument(
        "--split",
        choices=["train", "val", "trainval", "test"],
        help="frames of the KITTI root to test on (default: those of the config). The frames of 'test' have no labels:"
        " their result files are written to --out, and no AP is computed",
    )
    command.add_argument("--out", help="folder for KITTI result files, one per frame")


def _test(options: argparse.Namespace) -> None:
    _check_run(options)
    runs.check_checkpoint(options.checkpoint)
    if options.out:
        runs.check_output_folder(options.out)
    from lidar_rank.mm import running

    running.test(
        options.config,
        options.checkpoint,
        loss=options.loss,
        split=options.split,
        out=options.out,
        work_dir=options.work_dir,
        options=options.cfg_options,
    )


def _add_predict(commands: Any) -> None:
    command = _add_command(
        commands,
        "predict",
        _predict,
        "Detect objects in scans of your own: .bin, .npy, .pcd, .ply, .las, .laz or .csv files. Writes a JSON file, a"
        " file in KITTI's text format and a picture from above for each.",
        "lidar-rank predict second-car scan.pcd --height 1.9",
    )
    command.add_argument("model", help="a name that 'lidar-rank models' lists, or the mmengine config of --checkpoint")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="scans, or folders of scans")
    command.add_argument("--checkpoint", help="weights of your own, trained with the config")
    command.add_argument("--loss", metavar="NAME", help="loss that your weights were trained with")
    command.add_argument(
        "--out", type=Path, default=Path("predictions"), help="folder for results (default predictions)"
    )
    command.add_argument("--score", type=float, default=0.3, help="leave out boxes with a lower score (default 0.3)")
    command.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    command.add_argument("--page", action="store_true", help="also write index.html, which shows the scans in 3D")
    command.add_argument("--front-only", action="store_true", help="do not turn the scan: look ahead only")
    _add_sensor(command)
    camera = command.add_argument_group("a calibrated camera")
    camera.add_argument("--calib", type=Path, metavar="PATH", help="KITTI calibration file, or folder with one a scan")
    camera.add_argument(
        "--labels", type=Path, metavar="DIR", help="KITTI label files: the page tells what was found, false and missed"
    )
    camera.add_argument(
        "--image-size", type=int, nargs=2, default=(1242, 375), metavar=("W", "H"), help="pixels (default 1242 375)"
    )


def _add_sensor(command: argparse.ArgumentParser) -> None:
    frame = command.add_argument_group("the sensor, where it differs from KITTI's: x forward, y left, z up")
    frame.add_argument("--height", type=float, default=1.73, metavar="M", help="above the road (default 1.73 m)")
    frame.add_argument(
        "--rotate-z", type=float, default=0.0, metavar="DEG", help="turn, seen from above, that makes x point forward"
    )
    frame.add_argument(
        "--intensity-scale", type=float, default=1.0, metavar="F", help="brings intensities to 0..1, such as 0.00392"
    )
    file = command.add_argument_group("files that do not say what they hold")
    file.add_argument("--columns", nargs="+", metavar="NAME", help="names of all columns, such as x y z intensity ring")
    file.add_argument("--unit", type=float, default=1.0, metavar="M", help="length of their unit, such as 0.001")
    file.add_argument("--dtype", choices=["float32", "float64"], help="of .bin files (default: recognised)")


def _sensor_frame(options: argparse.Namespace) -> Any:
    from math import radians

    from lidar_rank.scans import SensorFrame

    return SensorFrame(options.height, radians(options.rotate_z), options.intensity_scale)


def _predict(options: argparse.Namespace) -> None:
    from lidar_rank.scans import check_names_differ, list_scans
    from lidar_rank.weights import find_model

    files = list_scans(options.files)
    check_names_differ(files)
    frame = _sensor_frame(options)
    config, checkpoint, loss = find_model(options.model, options.checkpoint, options.loss)
    check_before_import(config, loss)
    runs.check_checkpoint(checkpoint)
    runs.check_output_folder(options.out)
    if options.calib is not None and not options.calib.exists():
        raise FileNotFoundError(f"no calibration at {options.calib}")
    if options.labels is not None and options.calib is None:
        raise ValueError("labels are in the frame of a camera: --labels needs --calib")
    follow_device(options.device)
    from lidar_rank.mm import predicting

    detector = predicting.load_detector(config, checkpoint, loss=loss, device=options.device)
    predicting.predict_files(
        detector,
        files,
        options.out,
        frame=frame,
        min_score=options.score,
        full_circle=not options.front_only,
        columns=options.columns,
        dtype=options.dtype,
        unit_m=options.unit,
        calibrations=options.calib,
        image_size=tuple(options.image_size),
        page=options.page,
        labels=options.labels,
    )


def _add_doctor(commands: Any) -> None:
    command = _add_command(
        commands,
        "doctor",
        _doctor,
        "Say why a network finds little in your scans: compares height, axes, unit, intensities, beams, density and"
        " labelled boxes with KITTI's, and names the option that mends what differs. Give scans of one sensor, or a"
        " KITTI-format root, whose labels are examined too. Options of the sensor are applied first.",
        "lidar-rank doctor scans/ --height 1.9",
    )
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="scans, folders of scans, or one root")
    _add_sensor(command)


def _doctor(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lidar_rank.kitti.labelled import read_labelled_scans
    from lidar_rank.scans import doctor, list_scans, read_scan

    frame = _sensor_frame(options)
    root = options.paths[0] if (options.paths[0] / "training").is_dir() else None
    if root is not None:
        files, boxes = read_labelled_scans(root)
    else:
        files, boxes = list_scans(options.paths), []
    reading = {"columns": options.columns, "dtype": options.dtype, "unit_m": options.unit}
    examined = tqdm(files[: doctor.MAX_SCANS], desc="doctor", unit="scan", delay=2)
    points = [frame.points_to_kitti(read_scan(file, **reading)) for file in examined]
    scans = [doctor.measure_scan(scan) for scan in points]
    print(doctor.format_measures(scans))
    findings = doctor.examine_scans(scans, frame, options.unit) or doctor.examine_boxes(points, boxes[: len(points)])
    print(doctor.format_findings(findings))


def _add_models(commands: Any) -> None:
    _add_command(
        commands,
        "models",
        _models,
        "List the trained models that come with the package: what they find, how well, and where they fail.",
        "lidar-rank models",
    )


def _models(options: argparse.Namespace) -> None:  # noqa: ARG001 - it has none
    from lidar_rank.weights import format_models

    print(format_models())


def _add_analyze(commands: Any) -> None:
    command = _add_command(
        commands,
        "analyze",
        _analyze,
        "Test a checkpoint and see how it ranks: AP, reversed pairs (RankDetNet's Table 3), distributions of scores,"
        " overlaps and gradient norms. Writes one file that 'report' compares with others.",
        "lidar-rank analyze second_kitti-car_small work_dirs/second_kitti-car_small_dr/epoch_40.pth"
        " --loss dr --out dr.json",
    )
    _add_config(command)
    command.add_argument("checkpoint", help="weights trained with this config (.pth)")
    command.add_argument("--out", type=Path, default=Path("analysis.json"), help="default analysis.json")
    command.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        help="leave out pairs with negatives that score less, which a detector drops (default 0: all pairs)",
    )
    command.add_argument(
        "--gradients",
        type=int,
        default=0,
        metavar="N",
        help="also print the gradient that each loss term sends into the shared features, over N training batches",
    )


def _analyze(options: argparse.Namespace) -> None:
    _check_run(options)
    runs.check_checkpoint(options.checkpoint)
    runs.check_output_file(options.out)
    from lidar_rank.analysis import format_runs
    from lidar_rank.kitti.files import write_atomically
    from lidar_rank.mm import running

    run = running.analyze(
        options.config,
        options.checkpoint,
        loss=options.loss,
        min_score=options.min_score,
        work_dir=options.work_dir,
        options=options.cfg_options,
    )
    write_atomically(options.out, json.dumps(run.to_json()).encode())
    print(f"{format_runs({options.out.stem: run.diagnosis})}\nlidar-rank report {quote(str(options.out))} shows it")
    if options.gradients:
        from lidar_rank.mm.diagnostics import format_gradients

        norms = running.measure_gradients(
            options.config,
            options.checkpoint,
            batches=options.gradients,
            loss=options.loss,
            work_dir=options.work_dir,
            options=options.cfg_options,
        )
        print(f"\n{format_gradients(norms)}")


def _add_tune_weight(commands: Any) -> None:
    command = _add_command(
        commands,
        "tune-weight",
        _tune_weight,
        "Find the weight for a classification loss at which it pulls at the shared features as hard as the config's own"
        " loss does, in about a minute: a first weight for a detector and data on which the loss was never tried. On"
        " scans it was near the best weight, on images too low (docs/losses.md). Settings of the classification"
        " loss (--cfg-options) are for the loss that is put in.",
        "lidar-rank tune-weight second_kitti-car_small work_dirs/second_kitti-car_small/epoch_40.pth --loss dr",
    )
    _add_config(command)
    command.add_argument("checkpoint", help="weights trained with this config and its own loss (.pth)")
    command.add_argument(
        "--batches", type=int, default=50, metavar="N", help="training batches to measure (default 50)"
    )


def _tune_weight(options: argparse.Namespace) -> None:
    if options.loss is None:
        raise ValueError("tune-weight needs --loss NAME, the loss to find a weight for")
    runs.check_counts(batches=options.batches)
    _check_run(options)
    runs.check_checkpoint(options.checkpoint)
    from lidar_rank.mm import running

    found = running.tune_weight(
        options.config,
        options.checkpoint,
        loss=options.loss,
        batches=options.batches,
        work_dir=options.work_dir,
        options=options.cfg_options,
    )
    print(
        f"gradient at the shared features, mean of {options.batches} batches: {found.own:.4g} of the config's own loss,"
        f" {found.put_in:.4g} of {options.loss}\nThey are equal with --loss {options.loss} --cfg-options"
        f" {found.option}={found.weight:.2g}"
    )


def _add_report(commands: Any) -> None:
    command = _add_command(
        commands,
        "report",
        _report,
        "One HTML page that compares what 'lidar-rank analyze' found: scans in 3D or images with the boxes of each run,"
        " AP, precision and recall, AP by distance, what ranking could still win, distributions, settings. It opens in"
        " any browser, without a network.",
        "lidar-rank report focal.json dr.json --out report.html",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="files of 'lidar-rank analyze'")
    command.add_argument("--out", type=Path, default=Path("report.html"), help="default report.html")
    command.add_argument(
        "--scans", type=int, default=100, metavar="N", help="scans or images to show, evenly chosen (default 100)"
    )


def _report(options: argparse.Namespace) -> None:
    from lidar_rank.analysis import format_runs
    from lidar_rank.kitti.files import write_atomically
    from lidar_rank.page import render_report

    runs.check_counts(0, scans=options.scans)
    runs.check_output_file(options.out)
    found = _read_runs(options.runs)
    page = render_report(found, max_scans=options.scans)
    write_atomically(options.out, page.text.encode())
    print(format_runs({name: run.diagnosis for name, run in found.items()}))
    print("\n".join(page.notes) + "\n" if page.notes else "", end="")
    print(f"{options.out} shows them and {page.num_scenes} scans or images, {len(page.text) / 1e6:.1f} MB")


def _read_runs(paths: Sequence[Path]) -> dict[str, Any]:
    """Runs by the names of their files."""
    from lidar_rank.page import read_run

    found = {path.stem: read_run(path) for path in paths}
    if len(found) < len(paths):
        raise ValueError(f"runs are named by their files: {', '.join(map(str, paths))} share a name, rename one")
    return found


def _add_view(commands: Any) -> None:
    command = _add_command(
        commands,
        "view",
        _view,
        "Look at the scans of runs of 'lidar-rank analyze' and their boxes: in a window where there is a display, in a"
        " browser with --port, or in a picture.",
        "lidar-rank view dr.json --port 8080",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="files of 'lidar-rank analyze'")
    command.add_argument("--scan", metavar="NAME", help="scan to begin with (default: the first)")
    command.add_argument("--score", type=float, default=0.3, help="leave out boxes with a lower score (default 0.3)")
    command.add_argument("--port", type=int, metavar="N", help="serve browsers at this port instead of a window")
    command.add_argument(
        "--host", default="127.0.0.1", help="address to serve at (default 127.0.0.1: from this machine alone)"
    )
    command.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the scan into this file (.png, .svg or .pdf) instead"
    )


def _view(options: argparse.Namespace) -> None:
    if options.picture:
        runs.check_output_file(options.picture)
    from lidar_rank import live

    scenes = live.RunScenes(_read_runs(options.runs))
    position = scenes.position(options.scan)
    print("\n".join(scenes.notes) + "\n" if scenes.notes else "", end="")
    if options.picture:
        live.draw_picture(scenes, position, options.score).savefig(options.picture)
        print(f"{options.picture} shows {scenes.names[position]}")
    elif not scenes.is_3d:
        raise ValueError("these are runs on images, not scans: use --picture FILE, or 'lidar-rank report'")
    elif options.port is not None:
        live.serve(scenes, position, options.score, port=options.port, host=options.host)
    else:
        live.show_window(scenes, position, options.score)


def _add_demo(commands: Any) -> None:
    command = _add_command(
        commands,
        "demo",
        _demo,
        "Simulate scans, train a car detector with a ranking loss on them, print AP@0.7 and draw pictures.",
        "lidar-rank demo --scans 500",
    )
    command.add_argument("--out", type=Path, default=Path("work_dirs/demo"), help="default work_dirs/demo")
    command.add_argument("--scans", type=int, default=2000, metavar="N", help="scans to train on (default 2000)")
    command.add_argument("--held-back", type=int, default=100, metavar="N", help="scans to test on (default 100)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of scenes and training (default 0)")
    command.add_argument("--jobs", type=int, default=2, metavar="J", help="processes that simulate (default 2)")


def _demo(options: argparse.Namespace) -> None:
    runs.check_counts(scans=options.scans, held_back=options.held_back, jobs=options.jobs)
    runs.check_counts(0, seed=options.seed)
    from lidar_rank.mm import demo

    demo.run(options.out, scans=options.scans, held_back=options.held_back, seed=options.seed, jobs=options.jobs)


class _KeyTexts(argparse.Action):
    """Collect ``key=value`` words into a dictionary."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the words of one use of the option to those of earlier uses."""
        pairs = dict(getattr(namespace, self.dest) or {})
        for word in values:
            key, separator, value = word.partition("=")
            if not separator:
                parser.error(f"{option_string} takes KEY=VALUE, got {word!r}")
            pairs[key] = self.parse(value)
        setattr(namespace, self.dest, pairs)

    def parse(self, text: str) -> object:
        """Value of the text after ``=``."""
        return text


class _KeyValues(_KeyTexts):
    """The same with values that are Python literals where they can be."""

    def parse(self, text: str) -> object:
        """Value of the text after ``=``."""
        return _literal(text)


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    sys.exit(main())
