"""What was measured of a question, in words, and the lab log's tables, written between two marks.

What was measured is data, in `outputs/lab_log.json`: parameters file -> data set -> records as in `report.json`. The
tables in `outputs/README.md` are made of it and of the comments on top of the parameters files, `# Found:` among them;
what stands outside the marks is nobody's but its author's. A row is one parameters file with a claim of the log; what
nothing new was measured for stays as it is, and evidence from fewer runs or variants never replaces more.
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
from tadlib.workbook.experiment_files import Story, every, question, story
from tadlib.workbook.params import Params
from tadlib.workbook.plans import plan
from tadlib.workbook.stages import read_by
from tadlib.workbook.variants import Record, samples

BEGIN, END = "<!-- questions: begin -->", "<!-- questions: end -->"
DATA = ("demo", "rehearsal")
HEAD = ("question", "the research log said", "measured", "what to make of it")
METRIC = "mAP"
PLAIN = str.maketrans({"|": "/", "<": "&lt;", "$": "&#36;", "\n": " "})  # what is no text in a table of Markdown
NOT_KEPT = {"runs", "title", "seconds", "memory_mb", "p", "correction"}  # fields of a record
Measured = dict[str, list[Record]]  # data set -> records of a question


def measured(told: Sequence[Record]) -> str:
    """What was measured of one question, in words, from its records; empty where variants share no split and seed."""
    base = next(each for each in told if each["variant"] == each["baseline"])
    compared = [each for each in told if each["difference"]]
    if len(told) > 1 and not compared:
        return ""
    values, chosen = base["values"], base["chosen on"]
    basis = samples(base["splits"], base["seeds"])
    label = "" if base["variant"] == "as it is" else f" with {base['variant']}"
    spread = "" if values["deviation"] is None else f", s.d. of runs {100 * values['deviation']:.1f}"
    said = f"{base['metric']} {100 * values['mean']:.1f}{label}{spread} ({basis})"
    if chosen:
        said += f", not held out: {listed(chosen['parameters'])} chosen on {listed(chosen['splits'], 5)}"
    if chosen and chosen["rest"]:
        said += f", {100 * chosen['rest']['mean']:.1f} on the others ({chosen['basis']})"
    rows = []
    for each in compared:
        where = "" if over(each) == basis else f" ({over(each)})"
        rows.append(f"{each['variant']}: {difference(each['difference'])}, {each['difference']['verdict']}{where}")
    return "; ".join([said, *rows])


def over(told: Record) -> str:
    """What a difference is over, and where some pairs had part in choosing what tells the two apart, that over all."""
    if not told["apart"]:
        return told["basis"]
    names, whole = listed(told["apart"]), told["over all"]
    if whole is None:
        return f"{told['basis']}, not held out: some had part in choosing {names}"
    beside = f"over all {whole['basis']} {difference(whole)}, not held out"
    return f"{told['basis']} that had no part in choosing {names}; {beside}"


def listed(names: Iterable[str], most: int = 3) -> str:
    """Names, each once, the last of many as their number."""
    names = sorted(set(names))
    more = [f"{len(names) - most} more"] if len(names) > most else []
    *first, last = [*names[:most], *more]
    return f"{', '.join(first)} and {last}" if first else last


def difference(found: Mapping[str, Any]) -> str:
    """A difference of a record in points, with its interval where that is known."""
    interval = f" [{signed(found['low'])}, {signed(found['high'])}]" if found["low"] is not None else ""
    return f"{signed(found['difference'])}{interval}"


def signed(fraction: float) -> str:
    """Points with their sign; with more digits where one would hide on which side of zero they are."""
    told = (f"{100 * fraction:+.{digits}f}" for digits in (1, 2, 3))
    return next((each for each in told if float(each)), "+0.0")


def update(root: Path, found: Sequence[Record]) -> list[str]:
    """Write what a report found into the lab log of a project; returns what was done, a line each.

    Runs that answer no question of the project, like those of `--quick`, leave it alone, and so do those of edited
    notebooks.
    """
    answers: dict[tuple[str, str], list[Record]] = {}
    for each in found:
        if each["asks"] and each["data"] in DATA and not each.get("edited"):
            answers.setdefault((each["asks"], each["data"]), []).append(each)
    with locked(root / "outputs" / "README.md"):  # several batches may end at once
        kept = read(root)
        told = [_replace(kept, *asked, records) for asked, records in answers.items()]
        if told:
            write_json(root / "outputs" / "lab_log.json", dict(sorted(kept.items())))
            write_table(root, kept)
    return [line for line in told if line]


def read(root: Path) -> dict[str, Measured]:
    """What was measured of every question of a project so far."""
    path = root / "outputs" / "lab_log.json"
    return read_json(path) if path.is_file() else {}


def _replace(kept: dict[str, Measured], name: str, data: str, found: list[Record]) -> str:
    """Put what was found into what is kept, unless that says more; returns what was done."""
    asked = f"lab log: {name} ({data})"
    first = [each[0] for each in by_scoring(found)]
    if any(each.get("correction") or each["metric"] != METRIC or each["baseline"] != each["variant"] for each in first):
        return f"{asked} stays as it is: it holds {METRIC}, against the first variant, uncorrected"
    found = [each for several in by_scoring(found) if measured(several) for each in several]
    if not found:
        return ""
    have = kept.setdefault(name, {})
    if any(new < old for new, old in zip(evidence(found), evidence(have.get(data, [])), strict=True)):
        return f"{asked} keeps what more runs or variants said"
    have[data] = [{field: each for field, each in record.items() if field not in NOT_KEPT} for record in found]
    return f"{asked}: {cell(found)}"


def evidence(found: Sequence[Record]) -> tuple[int, int]:
    """Pairs of split and seed that records rest on (runs, where nothing is compared), and variants compared."""
    pairs = sum(each["pairs"] for each in found) or sum(each["values"]["number"] for each in found)
    return pairs, sum(each["difference"] is not None for each in found)


def by_scoring(found: Sequence[Record]) -> list[list[Record]]:
    """The records of a question, those scored under one protocol and on the same videos together."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for each in found:
        groups.setdefault((each["protocol"], each.get("evaluate on", "test")), []).append(each)
    return list(groups.values())


def cell(found: Sequence[Record]) -> str:
    """What the table says of the records of a question on one data set."""
    words = []
    for several in by_scoring(found):
        first, commits = several[0], sorted({commit for each in several for commit in each["commits"]})
        under = "" if first["protocol"] == "strict" else f"protocol {first['protocol']}: "
        under += "" if first.get("evaluate on", "test") == "test" else "on the training videos: "
        worlds = sorted({split.partition(" in ")[2] for each in several for split in each["splits"]} - {""})
        where = ", ".join([*worlds, f"commit {', '.join(commits)}"])
        words.append(f"{under}{measured(several)} [{where}]")
    return "; ".join(words)


def write_table(root: Path, kept: Mapping[str, Measured]) -> None:
    """Make the tables anew between their marks, which are added to a log without them."""
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
    """What is measured, a table a chapter, then the rest, folded."""
    asked = {path: said for path in every(root) if (said := story(question(text_of(path)))).claim}
    have = {path: kept[path.stem] for path in asked if kept.get(path.stem)}
    yield f"{len(have)} of {len(asked)} questions are measured."
    for chapter in dict.fromkeys(path.parent for path in have):
        yield from ("", f"### {chapter.name.capitalize()}", "", *_row(HEAD), "|" + "---|" * len(HEAD))
        for path, found in have.items():
            if path.parent == chapter:
                numbers = "; ".join(f"{data}: {cell(records)}" for data, records in found.items())
                said = (asked[path].claim, numbers, asked[path].found or "not read yet")
                yield from _row(said, asked[path], path.relative_to(root))
    if rest := [path for path in asked if path not in have]:
        head = ("question", "the research log said", "what it takes")
        yield from ("", "<details>", "<summary>Not in these tables</summary>", "")
        yield from (*_row(head), "|" + "---|" * len(head))
        for path in rest:
            takes = asked[path].found or needed(path.resolve(), text_of(path))
            yield from _row((asked[path].claim, takes), asked[path], path.relative_to(root))
        yield from ("", "</details>")


@cache  # every parameter of every run is checked for it
def needed(path: Path, _content: str) -> str:
    """What it takes to answer the question of a file: data that do not come with the project, runs and trainings."""
    try:
        runs = [Params.check(given) for given in plan(path).runs.values()]
    except (ValueError, TypeError, OSError) as error:
        return f"its file cannot be run: {error}"
    trainings = len({repr(read_by("train", each)) for each in runs})
    folders = sorted({f"data/{each.dataset}" for each in runs if each.dataset != "demo"})
    what = "annotations" if all(each.features == "simulate" for each in runs) else "annotations and videos or features"
    return f"{what} in {', '.join(folders)}; " * bool(folders) + f"{len(runs)} runs, {trainings} trainings"


def _row(cells: Iterable[str], said: Story | None = None, path: Path = Path()) -> Iterator[str]:
    """A line of a table; for a question its text, the log's entries and a link to its file come first."""
    link = ""
    if said:
        entries = "entries" if len(said.rows) > 1 else "entry"
        rows = f" ({entries} {', '.join(map(str, said.rows))})" if said.rows else ""
        link = "[`{}`](../{}) ".format(re.sub(r"[^\w .-]", "-", path.stem), quote(path.as_posix()))
        cells = (said.question + rows, *cells)
    yield f"| {link}{' | '.join(each.translate(PLAIN).replace('](', '] (') for each in cells)} |"
