"""The command `tad`; every command imports its modules when it is called, so that `tad --help` answers at once."""

import glob
import os
import re
import signal
import sys
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import click


class Several(click.Path):
    """A path, or the paths that match a pattern, sorted by name, with numbers by value."""

    def convert(self, value, param, ctx):
        """Return the matching paths; if there are none, fail as click does for a missing path."""
        found = [] if os.path.lexists(value) else glob.glob(value)
        parts = {path: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path)] for path in found}
        return sorted(found, key=parts.get) or [super().convert(value, param, ctx)]


_say = partial(print, flush=True)
FILE, FILES = click.Path(exists=True), Several(exists=True)  # or a folder of text files


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 if a run failed, 2 for invalid input."""
    try:
        with tad.make_context("tad", list(sys.argv[1:] if argv is None else argv)) as context:
            return tad.invoke(context)
    except click.exceptions.Exit as done:  # --help
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:  # the reader, like `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE if "run" in (argv or sys.argv)[:2] else 0  # a batch is cut short
    except (ValueError, RuntimeError, OSError) as error:
        print(f"tad: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tad: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def tad() -> None:
    """Run and compare experiments of the zero-shot TAD workbook."""


@tad.command()
@click.argument("experiments", nargs=-1, required=True)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at the same time.")
@click.option("--pages", type=click.Choice(["all", "best", "none"]), default="all", help="Runs with notebooks.  [all]")
@click.option("--new", is_flag=True, help="Start a new version even if the latest can be continued.")
@click.option("--dry-run", is_flag=True, help="Show the planned runs and the stages they share, and stop.")
@click.option("--quick", is_flag=True, help="A tiny size: two epochs, one seed and one class split.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE,...", help="Change a parameter of every run.")
@click.option("--base", default="", metavar="FILE", help="Take the common parameters from another file.")
@click.option("--slurm", multiple=True, metavar="NAME=VALUE", help="Submit SLURM jobs with this option, or local.")
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help="GPUs of each SLURM job.")
@click.option("--track", type=click.Choice(["mlflow"]), help="Export every finished run to a tracker.")
def run(experiments, jobs, pages, new, dry_run, quick, changes, base, slurm, gpus, track) -> int:  # noqa: C901, PLR0913
    """Execute every run of experiment files, skipping finished stages.

    EXPERIMENTS are flat YAML files, or names of files below params/, for example queries.
    """
    from tadlib.foreign import check_unique
    from tadlib.workbook import batch, executors, plans
    from tadlib.workbook.params import Params

    changed = parse_changes(changes, Params.free_text())
    planned = [plans.plan(path, changed, quick, base) for path in experiments]
    check_unique((experiment.name for experiment in planned), "tad run", "experiment")  # each has its own folder
    idle = [f"--gpus {gpus}"] * (gpus > 0 and not slurm) + [f"--jobs {jobs}"] * (jobs > 1 and bool(slurm))
    if idle:
        raise ValueError(f"{idle[0]} has no effect {'with' if slurm else 'without'} --slurm")
    for experiment in planned:
        print(plans.listing(experiment))
        if dry_run:
            print(*batch.preview(experiment, None if new else batch.continued(experiment), pages), sep="\n")
    if dry_run:
        return 0
    from tadlib.workbook import report as reports  # imports nbconvert

    if track:
        reports.require_mlflow()
    if threading.current_thread() is threading.main_thread():
        # interrupts as Ctrl-C does; a background process of a shell may ignore SIGINT itself
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    ended: list[reports.Ended] = []
    pool = executors.slurm(slurm, gpus) if slurm else None
    for experiment in planned:
        try:
            folder = batch.version_dir(experiment, new)
            print(f"writing {folder}, progress also in {folder / 'batch.log'}", flush=True)
            ended.append((experiment.name, folder, batch.execute(experiment, folder, jobs, _say, pool, pages)))
        except BrokenPipeError:
            raise
        except OSError as error:  # for example a full disk: the other experiments may still succeed
            print(f"tad: {experiment.name} was not executed to its end ({error})", file=sys.stderr)
    return max(reports.conclude(ended, track, _say), int(len(ended) < len(planned)))


@tad.command("list")
@click.argument("folder", default="outputs")
def list_runs(folder: str) -> int:
    """List the versions of experiments below FOLDER (default outputs) with their metrics, or the runs of one."""
    from tadlib.workbook import finished_runs, runs

    print(*finished_runs.listing(runs.resolve(folder)), sep="\n")
    return 0


@tad.command()
@click.argument("experiments", nargs=-1, required=True)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="baseline, metric, correction")
def report(experiments: tuple[str, ...], changes: tuple[str, ...]) -> int:
    """Compare runs in an executed notebook and a page, and update the lab log.

    EXPERIMENTS are folders of runs or experiments, for example outputs/demo.
    """
    from tadlib.workbook import report as reports
    from tadlib.workbook.notebook_params import ReportParams

    print("report:", reports.compare(experiments, parse_changes(changes, ReportParams.free_text()), _say))
    return 0


@tad.command()
@click.option("--annotations", type=FILES, multiple=True, required=True, help="True actions: JSON, CSV or text files.")
@click.option("--detections", type=FILES, multiple=True, required=True, help="Detections; a pattern in '' for splits.")
@click.option("--subset", default="", help="Score only the videos of this subset, for example test.")
@click.option("--classes", type=FILES, multiple=True, help="Classes to score, one a line, or metrics.json of a run.")
@click.option("--seen", type=FILES, multiple=True, help="Classes trained on, if they compete with unseen ones.")
@click.option("--against", type=FILES, multiple=True, help="Test whether these detections are worse.")
@click.option("--protocol", default="plain", help="plain, strict, gap, t3al, opentad or thumos-toolkit.  [plain]")
@click.option("--tiou", "tious", type=float, multiple=True, help="A threshold; may be repeated.  [the benchmark's]")
@click.option("--stride", type=click.IntRange(1), help="Frames of a short action, protocol gap.  [8, else a second]")
@click.option("--ties", type=click.Choice(["stable", "peer"]), default="stable", help="Order of equal scores.")
@click.option("--drop-bad", is_flag=True, help="Skip invalid rows, and count them.")
@click.option("--json", "target", default="", metavar="OUT", help="Write every number with full precision.")
def evaluate(ties: str, target: str, **given) -> int:
    """Score result files against annotations: JSON, CSV (video, start, end, label, score) or THUMOS14's text files.

    A table of a language model's answers has a column text in place of label and no score: earlier rows rank higher.
    A pattern such as 'split_*.csv' scores several splits, without --classes or --seen each on its detections' classes.
    """
    from tadlib.evaluation import result_file
    from tadlib.files import read_json, write_json
    from tadlib.workbook import result_text

    options = ("detections", "annotations", "classes", "seen", "against")
    files = {name: [path for paths in given.pop(name) for path in paths] for name in options}
    if len(set(files["detections"])) < len(files["detections"]):
        raise ValueError("--detections names a file twice: every split needs its own")
    if target and Path(target).resolve() in [Path(path).resolve() for paths in files.values() for path in paths]:
        raise ValueError(f"--json {target} is one of the files that are read: name another one")
    results, splits, warnings = {}, result_text.paired(files), []
    for split in splits:
        task = result_file.read_task(**{name: split.get(name) for name in ("annotations", "classes", "seen")}, **given)
        found = result_file.read_result(task, split["detections"], drop_bad=given["drop_bad"])
        own_classes = len(splits) > 1 and not {"classes", "seen"} & set(split)
        results[split["detections"]] = result = result_file.evaluate(task, found, ties=ties, only_found=own_classes)
        if "against" in split:
            task = task._replace(classes=tuple(result["per_class"]))
            other = result_file.read_result(task, split["against"], drop_bad=given["drop_bad"])
            result["against"] = result_file.against(task, found, other, ties)._asdict()
            warnings += result_text.warnings_of(split["against"], result_file.evaluate(task, other)["counts"])
    print(*(result_text.as_text(result) if len(splits) == 1 else result_text.as_text_of_splits(results)), sep="\n")
    protocol, runs = given["protocol"], {}
    for path in files["classes"] + files["detections"]:
        with suppress(OSError, ValueError, LookupError, TypeError):  # no metrics.json, or not that of a run
            runs.setdefault(read_json(Path(path).parent / "metrics.json")["protocol"], Path(path).parent)
    for its in runs.keys() - {protocol}:
        print(f"protocol {protocol} here, {its} in the run {runs[its]}: pass --protocol {its} to compare with it")
    if len(splits) > 1:
        result = {"splits": results, "spread": result_text.spreads(list(results.values()))}
    if files["against"]:
        paired = result_text.over_splits([each["against"] for each in results.values()])
        result["against"] = paired._asdict()
        span = f"[{100 * paired.low:+.2f}, {100 * paired.high:+.2f}]"
        line = f"against {', '.join(files['against'])}: {100 * paired.difference:+.2f} points {span}, {paired.verdict}"
        print(*dict.fromkeys(warnings), line, sep="\n")
    if target:
        write_json(target, result)
    return 0


@tad.command()
@click.argument("source", type=FILE)
@click.argument("target", type=click.Path(dir_okay=False))
@click.option("--as", "layout", type=click.Choice(["activitynet", "csv", "label-studio", "fiftyone"]), required=True)
@click.option("--fps", default="", help="Frame rate of videos without one in the file, to convert frames.")
@click.option("--videos", default="{}.mp4", show_default=True, help="Address of a video in Label Studio, {} its id.")
def export(source: str, target: str, layout: str, fps: str, videos: str) -> int:
    """Convert annotations or detections, a file or folder in any supported layout, to another layout."""
    from tadlib.data import datasets
    from tadlib.workbook import export as exporting

    if Path(target).resolve() == Path(source).resolve():
        raise ValueError(f"{target} is the file that is read: name another one")
    in_frames = datasets.read_conventions(datasets.folder_beside(source)).times == "frames"
    number = exporting.export(source, target, layout, fps=fps, videos=videos, in_frames=in_frames)
    print(f"{number} rows in {target}")
    return 0


@tad.command()
def doctor() -> int:
    """Report installed packages, the device, the data found, and what is missing."""
    from tadlib.workbook import doctor

    return doctor.main()


def parse_changes(words: Sequence[str], free: Collection[str]) -> dict[str, object]:
    """Parse every `--set NAME=VALUE` into name -> value; several values separated by commas are a list.

    Values of `free` text parameters are taken as written, numbers as for `-p`, all else as YAML.
    """
    from tadlib.foreign import yaml_value
    from tadlib.workbook.papermill_arguments import typed

    changes: dict[str, object] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise ValueError(f"--set {name} must be NAME=VALUE, for example --set epochs=20")
        if text.startswith(("[", "'", '"')):  # a YAML list or a quoted YAML text
            value = yaml_value(text, f"--set {name}")
        elif name in free:
            value = text
        else:  # numbers and None as for `-p`
            parts = [typed(part) for part in text.split(",")]
            values = [yaml_value(part, f"--set {name}") if isinstance(part, str) else part for part in parts]
            value = values if len(values) > 1 else values[0]
        if name in changes:
            raise ValueError(f"--set {name} is given twice, as {changes[name]!r} and {value!r}: keep one of them")
        changes[name] = value
    return changes
