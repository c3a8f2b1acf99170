"""`tad run | list | report | evaluate | doctor`: experiments from the command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 if a run failed, 2 for what cannot be run at all."""
    parser = argparse.ArgumentParser(
        prog="tad", description="Run and compare experiments of the zero-shot TAD workbook."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute every run of an experiment file, skipping what is finished")
    run.add_argument("experiment", help="a flat YAML file, for example params/demo.yaml")
    run.add_argument("--jobs", type=int, default=1, help="runs at the same time (default 1)")
    run.add_argument("--new", action="store_true", help="start a new version even if the latest can be continued")
    run.add_argument("--dry-run", action="store_true", help="show the planned runs and stop")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter of every run")
    listing = commands.add_parser("list", help="runs below outputs/, their status and headline numbers")
    listing.add_argument("folder", nargs="?", default="outputs", help="where to look (default outputs)")
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
    except (ValueError, RuntimeError, OSError) as error:
        print(f"tad: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tad: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


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
    evaluate.add_argument("--ties", choices=("stable", "peer"), default="stable", help="order of equal scores")
    evaluate.add_argument("--drop-bad", action="store_true", help="leave rows out that cannot be right, and count them")
    evaluate.add_argument("--json", default="", metavar="OUT", help="write every number with full precision")


def _evaluate(options: argparse.Namespace) -> int:
    from tadlib.evaluation import result_file
    from tadlib.files import write_json

    task = result_file.read_task(
        options.annotations,
        subset=options.subset,
        classes=options.classes,
        seen=options.seen,
        protocol=options.protocol,
        tious=options.tiou,
        drop_bad=options.drop_bad,
    )
    result = result_file.evaluate(task, options.detections, ties=options.ties, drop_bad=options.drop_bad)
    print(*result_file.as_text(result), sep="\n")
    if options.against:
        told = result_file.against(task, options.detections, options.against, drop_bad=options.drop_bad)
        result["against"] = told._asdict()
        low, high = 100 * told.low, 100 * told.high
        print(
            f"against {options.against}: {100 * told.difference:+.2f} points [{low:+.2f}, {high:+.2f}], {told.verdict}"
        )
    if options.json:
        write_json(options.json, result)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from tadlib.workbook import doctor

    return doctor.main()


def _run(options: argparse.Namespace) -> int:
    import yaml

    from tadlib.workbook import experiments

    pairs = [change.partition("=") for change in options.set]
    changes = {name: yaml.safe_load(value) for name, _, value in pairs}
    experiment = experiments.plan(options.experiment, changes)
    print(f"{experiment.name}: {experiment.question}\n{len(experiment.runs)} runs: {', '.join(experiment.runs)}")
    if options.dry_run:
        return 0
    folder = experiments.version_dir(experiment, options.new)
    print(f"writing {folder}", flush=True)
    status = experiments.execute(experiment, folder, options.jobs, lambda text: print(text, flush=True))
    _compare(folder)
    failed = {label: text for label, text in status.items() if text != "finished"}
    for label, text in failed.items():
        print(f"tad: {label} {text}", file=sys.stderr)
    return 1 if failed else 0


def _list(options: argparse.Namespace) -> int:
    from tadlib.workbook import experiments, runs

    for run in runs.load(runs.resolve(options.folder)):
        stages = ", ".join(f"{stage} {status}" for stage, status in run["stages"].items())
        headline = f"mAP {100 * run['metrics']['mAP']:.1f} %" if run["metrics"] else "no metrics"
        print(f"{run['dir'].relative_to(runs.project_root())}: {headline} ({stages})")
    print(*experiments.as_text(experiments.comparison(runs.resolve(options.folder))), sep="\n")
    return 0


def _report(options: argparse.Namespace) -> int:
    import yaml

    from tadlib.workbook import reporting

    pairs = [change.partition("=") for change in options.set]
    changes = {name: yaml.safe_load(value) for name, _, value in pairs}
    page = reporting.report(options.experiments, changes, lambda text: print(text, flush=True))
    print(f"report: {page}")
    return 0


def _compare(folder: Path) -> None:
    """Print the comparison of the runs below a folder, and write it and their HTML reports."""
    from tadlib.files import write_json
    from tadlib.workbook import experiments

    rows = experiments.comparison(folder)
    print(*experiments.as_text(rows), sep="\n")
    write_json(folder / "comparison.json", rows)
    for notebook in sorted(folder.rglob("*.ipynb")):
        if not notebook.name.startswith("."):
            print(f"report: {experiments.report(notebook)}", flush=True)
