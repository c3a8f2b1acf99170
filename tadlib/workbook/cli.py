"""`tad run | list | report | evaluate | doctor`: experiments from the command line."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 if a run failed, 2 for what cannot be run at all."""
    parser = argparse.ArgumentParser(
        prog="tad", description="Run and compare experiments of the zero-shot TAD workbook."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute every run of experiment files, skipping what is finished")
    run.add_argument("experiments", nargs="+", help="flat YAML files, for example params/demo.yaml")
    _run_options(run)
    listing = commands.add_parser(
        "list", help="experiments below outputs/, their versions, status and headline numbers"
    )
    listing.add_argument(
        "folder", nargs="?", default="outputs", help="where to look (default outputs); of one experiment every run"
    )
    report = commands.add_parser("report", help="compare runs: an executed notebook, a page, the lab log")
    report.add_argument("experiments", nargs="+", help="folders of runs or experiments, for example outputs/demo")
    report.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="baseline, metric, together")
    _evaluate_options(commands.add_parser("evaluate", help="score a result file against an annotation file"))
    commands.add_parser("doctor", help="what is installed, what computes, where data is, what is missing")
    options = parser.parse_args(argv)
    try:
        return {"run": _run, "list": _list, "report": _report, "evaluate": _evaluate, "doctor": _doctor}[
            options.command
        ](options)
    except BrokenPipeError:  # who reads it, like `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE if options.command == "run" else 0  # a batch is cut short
    except (ValueError, RuntimeError, OSError) as error:
        print(f"tad: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tad: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--jobs", type=_at_least(1), default=1, help="runs at the same time (default 1)")
    run.add_argument("--retries", type=_at_least(0), default=0, help="times a failed stage is tried again (default 0)")
    run.add_argument("--new", action="store_true", help="start a new version even if the latest can be continued")
    run.add_argument("--dry-run", action="store_true", help="show the planned runs, what they share, and stop")
    run.add_argument("--quick", action="store_true", help="a tiny size: two epochs, one seed and one class split")
    run.add_argument("--no-share", action="store_true", help="let every run execute all its stages itself")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a parameter of every run, swept or not; several values with commas",
    )
    run.add_argument("--base", default="", metavar="FILE", help="ask the question on what another file holds in common")
    where = run.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler", default="", metavar="FILE|ADDRESS", help="give the runs to a running Dask cluster"
    )
    where.add_argument(
        "--slurm",
        action="append",
        metavar="NAME=VALUE",
        help="make every run a job of SLURM, with this option of sbatch; `--slurm local` makes processes here",
    )
    run.add_argument("--gpus", type=_at_least(0), default=0, help="GPUs elsewhere that one run needs (default 0)")
    run.add_argument("--track", choices=("mlflow", "tensorboard"), help="tell a tracker about every finished run")


def _at_least(least: int) -> Callable[[str], int]:
    def number(word: str) -> int:
        if not word.isdecimal() or int(word) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {least}, got {word!r}")
        return int(word)

    return number


def _evaluate_options(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("--annotations", required=True, help="true actions: ActivityNet's JSON or CSV, plain or .gz")
    evaluate.add_argument("--detections", required=True, help="detections: ActivityNet's JSON or CSV, plain or .gz")
    evaluate.add_argument("--subset", default="", help="count the videos of this subset only, for example test")
    evaluate.add_argument("--classes", default="", metavar="FILE", help="count these classes only, one name a line")
    evaluate.add_argument("--seen", default="", metavar="FILE", help="classes trained on, where they compete as well")
    evaluate.add_argument("--against", default="", metavar="RESULTS", help="say whether these detections are worse")
    evaluate.add_argument(
        "--protocol", default="plain", help="plain, strict, gap, t3al, opentad or thumos-toolkit (default plain)"
    )
    evaluate.add_argument("--tiou", type=float, nargs="+", default=[], help="thresholds (default: the benchmark's)")
    evaluate.add_argument(
        "--stride",
        type=_at_least(1),
        help="frames up to which protocol gap takes an action for short (default: 8 for THUMOS14, else a second)",
    )
    evaluate.add_argument("--ties", choices=("stable", "peer"), default="stable", help="order of equal scores")
    evaluate.add_argument("--drop-bad", action="store_true", help="leave rows out that cannot be right, and count them")
    evaluate.add_argument("--json", default="", metavar="OUT", help="write every number with full precision")


def _evaluate(options: argparse.Namespace) -> int:
    from tadlib.data.checks import nearest
    from tadlib.evaluation import result_file
    from tadlib.evaluation.protocols import PROTOCOLS
    from tadlib.files import write_json

    for name in ("annotations", "detections", "classes", "seen", "against"):
        file = getattr(options, name)
        if file and (not Path(file).exists() or Path(file).is_dir()):
            raise ValueError(f"--{name} must be a file, there is none at {file!r}")
    if options.protocol not in PROTOCOLS:
        raise ValueError(f"--protocol is unknown: {options.protocol!r}{nearest(options.protocol, PROTOCOLS)}")
    task = result_file.read_task(
        options.annotations,
        subset=options.subset,
        classes=options.classes,
        seen=options.seen,
        protocol=options.protocol,
        tious=options.tiou,
        stride=options.stride,
        drop_bad=options.drop_bad,
    )
    result = result_file.evaluate(task, options.detections, ties=options.ties, drop_bad=options.drop_bad)
    print(*result_file.as_text(result), sep="\n")
    if options.against:
        told = result_file.against(task, options.detections, options.against, drop_bad=options.drop_bad)
        result["against"] = told._asdict()
        span = f"[{100 * told.low:+.2f}, {100 * told.high:+.2f}]"
        print(f"against {options.against}: {100 * told.difference:+.2f} points {span}, {told.verdict}")
    if options.json:
        write_json(options.json, result)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from tadlib.workbook import doctor

    return doctor.main()


def _run(options: argparse.Namespace) -> int:
    from tadlib.workbook import batch, plans, reporting, tracking
    from tadlib.workbook.params import Params

    changes = _changes(options.set, Params.free_text())
    planned = [plans.plan(path, changes, options.quick, options.base) for path in options.experiments]
    way = batch.Way(options.jobs, options.retries, not options.no_share)
    for each in planned:
        print(plans.listing(each))
        if options.dry_run:
            print(*batch.outlook(each, way, None if options.new else batch.continued(each)), sep="\n")
    if options.dry_run:
        return 0
    if options.track:
        tracking.require(options.track)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    ended: list[reporting.Ended] = []
    with _machines(options) as machines:
        for each in planned:
            try:
                folder = batch.version_dir(each, options.new)
                print(f"writing {folder}, progress also in {folder / 'batch.log'}", flush=True)
                ended.append((each.name, folder, batch.execute(each, folder, way, _say, machines)))
            except BrokenPipeError:
                raise
            except OSError as error:  # a full disk, say: the other files may still have room
                print(f"tad: {each.name} was not executed to its end ({error})", file=sys.stderr)
    return max(reporting.conclude(ended, options.track, _say), int(len(ended) < len(planned)))


def _machines(options: argparse.Namespace) -> AbstractContextManager:
    from tadlib.workbook import executors

    if options.scheduler:
        return executors.dask(options.scheduler, options.gpus)
    return executors.slurm(options.slurm, options.gpus) if options.slurm else nullcontext()


def _say(text: str) -> None:
    print(text, flush=True)


def _changes(words: Sequence[str], free: Collection[str]) -> dict[str, object]:
    """Name -> value of every `--set NAME=VALUE`: of `free` text as it stands, else typed as YAML types it."""
    import yaml

    changes: dict[str, object] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise ValueError(f"--set {name} must be NAME=VALUE, for example --set epochs=20")
        if name in free and value[:1] not in ("[", "'", '"'):
            changes[name] = value
            continue
        try:
            changes[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"--set {name} must be a value as YAML writes it, got {value!r}") from None
    return changes


def _interrupt(*_: object) -> None:
    """End as Ctrl-C does, also where a background shell made this process deaf to Ctrl-C itself."""
    raise KeyboardInterrupt


def _list(options: argparse.Namespace) -> int:
    from tadlib.workbook import comparison, runs

    print(*comparison.listing(runs.resolve(options.folder)), sep="\n")
    return 0


def _report(options: argparse.Namespace) -> int:
    from tadlib.workbook import reporting
    from tadlib.workbook.report_params import ReportParams

    print("report:", reporting.report(options.experiments, _changes(options.set, ReportParams.free_text()), _say))
    return 0
