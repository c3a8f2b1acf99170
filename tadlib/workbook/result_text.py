"""Tables and warnings of tad evaluate, as text, for one result file or those of several splits."""

from collections.abc import Mapping, Sequence
from typing import Any

from tadlib.evaluation import statistics
from tadlib.evaluation.recall import COUNTS
from tadlib.evaluation.result_file import NO_HIT, NOT_FOUND

SUSPECT = ("videos_without_detections", "dropped_detections", "detections_outside_video", "detections_given_twice")
GENERALISED = ("base", "novel", "harmonic")


def paired(files: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return the files of each split by option; raises ValueError unless an option has one file or one per split."""
    number = len(files["detections"])
    for option, paths in files.items():
        if len(paths) not in (0, 1, number):
            raise ValueError(f"--{option} names {len(paths)} files, --detections {number}: give one, or one for each")
    given = {option: paths * number if len(paths) == 1 else paths for option, paths in files.items() if paths}
    return [dict(zip(given, paths, strict=True)) for paths in zip(*given.values(), strict=True)]


def spreads(results: Sequence[Mapping[str, object]]) -> dict[str, dict[str, float]]:
    """Return mean, deviation and interval over splits of every mAP, also of seen and unseen classes that compete."""
    names = [*(f"mAP@{tiou:g}" for tiou in results[0]["tious"]), "mAP", *(n for n in GENERALISED if n in results[0])]
    return {name: statistics.spread([result[name] for result in results])._asdict() for name in names}


def as_text(result: dict[str, object]) -> list[str]:
    """Format as a text table: AP in per cent at each tIoU and on average, recall, and counts."""
    tious, classes = result["tious"], result["per_class"]
    width = max(24, *(len(label) for label in classes))
    lines = [f"{'AP (%) at tIoU':{width}}" + "".join(f"{tiou:>8g}" for tiou in tious) + f"{'mean':>8}"]
    lines += [_line(label, [*row, sum(row) / len(row)], width) for label, row in classes.items()]
    for name, prefix in (("mAP", ""), ("without labels", "agnostic_")):
        lines.append(_line(name, [result[f"{prefix}mAP@{t:g}"] for t in tious] + [result[f"{prefix}mAP"]], width))
    if "harmonic" in result:
        lines += ["", f"{'seen and unseen compete':{width}}" + "".join(f"{name:>9}" for name in GENERALISED)]
        lines.append(f"{'mAP (%)':{width}}" + "".join(f"{100 * result[name]:9.2f}" for name in GENERALISED))
    lines += ["", f"{'proposals per video':{width}}" + "".join(f"{number:>8}" for number in COUNTS) + f"{'AUC':>8}"]
    lines.append(_line("average recall (%)", [result[f"AR@{n}"] for n in COUNTS] + [result["AUC"]], width))
    lines += ["", f"protocol {result['protocol']}" + (f", subset {result['subset']}" if result["subset"] else "")]
    return lines + [f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in result["counts"].items() if value]


def as_text_of_splits(results: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Format the mAP of several splits in per cent, with mean, standard deviation and interval over them."""
    over, (first, *_) = spreads(list(results.values())), results.values()
    width = max(24, *map(len, results))
    tious = "".join(f"{tiou:>8g}" for tiou in first["tious"])
    lines = [f"{'mAP (%) at tIoU':{width}}{tious}    mean{'    base   novel harmonic' * ('base' in over)} classes"]
    for name, result in results.items():
        lines.append(_line(name, [result[column] for column in over], width) + f"{len(result['per_class']):8}")
    rows = {"mean": "mean", "deviation": "standard deviation", "low": "95 % interval from", "high": "to"}
    lines += [_line(name, [each[field] for each in over.values()], width) for field, name in rows.items()]
    return lines + [line for name, result in results.items() for line in warnings_of(name, result["counts"])]


def warnings_of(name: str, counts: Mapping[str, Any]) -> list[str]:
    """Format what may be wrong with a result file, one line per kind."""
    kinds = (kind for kind in (*SUSPECT, "seen_classes_without_actions", NOT_FOUND, NO_HIT) if counts.get(kind))
    return [f"{name}: {kind.replace('_', ' ')}: {_shown(counts[kind])}" for kind in kinds]


def over_splits(found: Sequence[Mapping[str, Any]]) -> statistics.Verdict:
    """Return the mean difference over splits with Student's interval; for a single split its own, over videos."""
    values = [each["difference"] for each in found]
    return statistics.compare_splits(values, [0.0] * len(values)) if len(found) > 1 else statistics.Verdict(**found[0])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} with {kind}" for kind, number in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(name: str, values: Sequence[float], width: int) -> str:
    return f"{name:{width}}" + "".join(f"{100 * value:8.2f}" for value in values)
