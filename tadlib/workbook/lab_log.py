"""Lab log: measurements of each question as sentences, and their tables in outputs/README.md, between two marks.

The measurements are in `outputs/lab_log.json`: parameters file -> data set -> records as in `report.json`. The tables
are generated from them and from the comments on top of the parameters files that cite a claim of the research log.
Evidence from fewer runs or variants never replaces evidence from more.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tadlib.files import read_json, write_json, write_text
from tadlib.foreign import text_of
from tadlib.locks import locked
from tadlib.workbook.params import Params
from tadlib.workbook.plans import every, plan, question
from tadlib.workbook.stages import read_by
from tadlib.workbook.variants import Record, Story, samples, story

BEGIN, END = "<!-- questions: begin -->", "<!-- questions: end -->"
DATA = ("demo", "rehearsal")
HEAD = ("| question | the research log said | measured | what to make of it |", "|---|---|---|---|")
HEAD_OF_OTHERS = ("| question | the research log said | what it takes |", "|---|---|---|")
METRIC = "mAP"
PLAIN = str.maketrans({"|": "/", "<": "&lt;", "$": "&#36;", "\n": " "})  # characters with a meaning in Markdown tables
NOT_KEPT = {"runs", "title", "seconds", "memory_mb", "p", "correction"}  # fields of a record
Measured = dict[str, list[Record]]  # data set -> records of a question


def measured(records: Sequence[Record]) -> str:
    """Describe the measurements of one question from its records; empty if no variants share a split and seed."""
    base = next(record for record in records if record["variant"] == record["baseline"])
    compared = [record for record in records if record["difference"]]
    if len(records) > 1 and not compared:
        return ""
    values = base["values"]
    basis = samples(base["splits"], base["seeds"])
    label = "" if base["variant"] == "as it is" else f" with {base['variant']}"
    spread = "" if values["deviation"] is None else f", s.d. of runs {100 * values['deviation']:.1f}"
    summary = f"{base['metric']} {100 * values['mean']:.1f}{label}{spread} ({basis})"
    rows = []
    for record in compared:
        found, where = record["difference"], "" if record["basis"] == basis else f" ({record['basis']})"
        rows.append(f"{record['variant']}: {difference(found)}, {found['verdict']}{where}")
    return "; ".join([summary, *rows])


def listed(names: Iterable[str], most: int = 3) -> str:
    """Join unique names as "a, b and c"; beyond `most` only the number of the others is given."""
    names = sorted(set(names))
    more = [f"{len(names) - most} more"] if len(names) > most else []
    *first, last = [*names[:most], *more]
    return f"{', '.join(first)} and {last}" if first else last


def difference(found: Mapping[str, Any]) -> str:
    """Format the difference of a record in points, with its interval if it is known."""
    interval = f" [{signed(found['low'])}, {signed(found['high'])}]" if found["low"] is not None else ""
    return f"{signed(found['difference'])}{interval}"


def signed(fraction: float) -> str:
    """Format a fraction as points with a sign; with more digits if one would round it to zero."""
    texts = (f"{100 * fraction:+.{digits}f}" for digits in (1, 2, 3))
    return next((text for text in texts if float(text)), "+0.0")


def update(root: Path, found: Sequence[Record]) -> list[str]:
    """Write the records of a report that answer a question of the project into its lab log; return a line for each."""
    answers: dict[tuple[str, str], list[Record]] = {}
    for record in found:
        if record["asks"] and record["data"] in DATA and not record.get("edited"):
            answers.setdefault((record["asks"], record["data"]), []).append(record)
    with locked(root / "outputs" / "README.md"):  # several batches may end at once
        kept = read(root)
        changes = [_replace(kept, *key, records) for key, records in answers.items()]
        if changes:
            write_json(root / "outputs" / "lab_log.json", dict(sorted(kept.items())))
            write_table(root, kept)
    return [line for line in changes if line]


def read(root: Path) -> dict[str, Measured]:
    """Read the stored measurements of all questions of a project."""
    path = root / "outputs" / "lab_log.json"
    return read_json(path) if path.is_file() else {}


def _replace(kept: dict[str, Measured], name: str, data: str, found: list[Record]) -> str:
    """Replace the stored records of a question, unless they rest on more evidence; return a line that describes it."""
    asked = f"lab log: {name} ({data})"
    first = [group[0] for group in by_scoring(found)]
    if any(row.get("correction") or row["metric"] != METRIC or row["baseline"] != row["variant"] for row in first):
        return f"{asked} stays as it is: it holds {METRIC} against the first variant, uncorrected"
    found = [record for group in by_scoring(found) if measured(group) for record in group]
    if not found:
        return ""
    stored = kept.setdefault(name, {})
    if any(new < old for new, old in zip(evidence(found), evidence(stored.get(data, [])), strict=True)):
        return f"{asked} keeps its evidence from more runs or variants"
    stored[data] = [{field: value for field, value in record.items() if field not in NOT_KEPT} for record in found]
    return f"{asked}: {cell(found)}"


def evidence(found: Sequence[Record]) -> tuple[int, int]:
    """Return the number of pairs of split and seed (of runs if nothing is compared), and that of compared variants."""
    pairs = sum(record["pairs"] for record in found) or sum(record["values"]["number"] for record in found)
    return pairs, sum(record["difference"] is not None for record in found)


def by_scoring(found: Sequence[Record]) -> list[list[Record]]:
    """Group the records of a question by evaluation protocol and evaluated videos."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in found:
        groups.setdefault((record["protocol"], record.get("evaluate on", "test")), []).append(record)
    return list(groups.values())


def cell(found: Sequence[Record]) -> str:
    """Return the table's text for the records of a question on one data set."""
    words = []
    for group in by_scoring(found):
        first, commits = group[0], sorted({commit for record in group for commit in record["commits"]})
        under = "" if first["protocol"] == "strict" else f"protocol {first['protocol']}: "
        under += "" if first.get("evaluate on", "test") == "test" else "on the training videos: "
        worlds = sorted({split.partition(" in ")[2] or "world 0" for record in group for split in record["splits"]})
        settings = [listed(first["settings"], 8)] if first.get("settings") else []
        where = ", ".join([*worlds, *settings, f"commit {', '.join(commits)}"])
        words.append(f"{under}{measured(group)} [{where}]")
    return "; ".join(words)


def write_table(root: Path, kept: Mapping[str, Measured]) -> None:
    """Rewrite the tables between their marks, which are added if the log has none."""
    path = root / "outputs" / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Lab log\n"
    if BEGIN not in text or END not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    table = "\n".join(_lines(root, kept))
    new = f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"
    if new != text:
        write_text(path, new)


def _lines(root: Path, kept: Mapping[str, Measured]) -> Iterator[str]:
    """Yield the lines of the tables: measured questions by chapter, then the others in a folded section."""
    stories = {path: parsed for path in every(root) if (parsed := story(question(text_of(path)))).claim}
    answered = {path: kept[path.stem] for path in stories if kept.get(path.stem)}
    yield f"{len(answered)} of {len(stories)} questions are measured."
    for chapter in dict.fromkeys(path.parent for path in answered):
        yield from ("", f"### {chapter.name.capitalize()}", "", *HEAD)
        for path, found in answered.items():
            if path.parent == chapter:
                numbers = "; ".join(f"{data}: {cell(records)}" for data, records in found.items())
                yield _row(stories[path], path.relative_to(root), numbers, stories[path].found or "not read yet")
    if rest := [path for path in stories if path not in answered]:
        yield from ("", "<details>", "<summary>Not in these tables</summary>", "", *HEAD_OF_OTHERS)
        for path in rest:
            takes = stories[path].found or needed(path.resolve(), text_of(path))
            yield _row(stories[path], path.relative_to(root), takes)
        yield from ("", "</details>")


@cache  # slow: it checks all parameters of all runs
def needed(path: Path, _content: str) -> str:
    """Describe the effort of answering a file's question: data to obtain, number of runs and of trainings."""
    try:
        runs = [Params.check(given) for given in plan(path).runs.values()]
    except (ValueError, TypeError, OSError) as error:
        return f"its file cannot be run: {error}"
    trainings = len({repr(read_by("train", each)) for each in runs})
    folders = sorted({f"data/{each.dataset}" for each in runs if each.dataset != "demo"})
    what = "annotations" if all(each.features == "simulate" for each in runs) else "annotations and videos or features"
    return f"{what} in {', '.join(folders)}; " * bool(folders) + f"{len(runs)} runs, {trainings} trainings"


def _row(told: Story, path: Path, *others: str) -> str:
    """Return the line of a question: a link to its file, its text, the log's entries and claim, and other cells."""
    entries = "entries" if len(told.rows) > 1 else "entry"
    rows = f" ({entries} {', '.join(map(str, told.rows))})" if told.rows else ""
    link = "[`{}`](../{})".format(re.sub(r"[^\w .-]", "-", path.stem), quote(path.as_posix()))
    cells = (each.translate(PLAIN).replace("](", "] (") for each in (told.question + rows, told.claim, *others))
    return f"| {link} {' | '.join(cells)} |"
