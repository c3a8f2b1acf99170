"""The lab log's table of questions: what the log said, what was measured here, written between two marks.

What stands outside the marks is nobody's but its author's. A row is one parameters file with a claim of the log; a
cell that nothing new was measured for stays as it is, and evidence from fewer runs or variants never replaces more.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tadlib.files import atomic, locked, text_of
from tadlib.workbook import telling, variants
from tadlib.workbook.evidence import Evidence
from tadlib.workbook.params import Params
from tadlib.workbook.plans import plan, question
from tadlib.workbook.variants import Row, Study

BEGIN, END = "<!-- questions: begin -->", "<!-- questions: end -->"
DATA = ("demo", "rehearsal")
HEAD = ("question", "the log said", "on the demo", "on the rehearsal set", "verdict", "parameters")
NOTHING = "not yet measured"
UNMEASURED = dict.fromkeys(DATA, NOTHING)
OTHERWISE = " (not all of them the file's values)"
SAMPLES = re.compile(r"\((\d+) splits? × (\d+) seeds?(?: \((\d+) pairs\))?")
VERDICTS = re.compile(r": [+-][\d.]+(?: \[[^\]]*\])?, (better|worse|cannot tell)")


def update(root: Path, found: Evidence) -> list[str]:
    """Write what the runs say into `outputs/README.md` of a project; returns what was done, a line each.

    Runs that answer no question of the project, like those of `--quick`, leave the file alone.
    """
    path = root / "outputs" / "README.md"
    measured = list(_measured(root, found))
    if not measured:
        return []
    with locked(path):  # several batches may end at once
        return _write(root, path, measured)


def _write(root: Path, path: Path, measured: Sequence[tuple[str, str, str]]) -> list[str]:
    told = []
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Lab log\n"
    if BEGIN not in text or END not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    cells = dict(_cells(old))
    for name, data, cell in measured:
        have = cells.setdefault(name, dict(UNMEASURED))
        if samples(cell) < samples(have[data]) or compared(cell) < compared(have[data]):
            told.append(f"lab log: {name} ({data}) keeps what more runs or variants said")
        else:
            have[data] = cell
            told.append(f"lab log: {name} ({data}): {cell}")
    table = "\n".join(_lines(root, cells))
    new = f"{before}{BEGIN}\n{table}\n{END}{after}"
    if new != text:
        with atomic(path) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return told


def samples(cell: str) -> int:
    """How many pairs of split and seed a cell of the table rests on, those of all its variants."""
    found = [int(pairs) if pairs else int(splits) * int(seeds) for splits, seeds, pairs in SAMPLES.findall(cell)]
    return sum(found) * (max(1, compared(cell)) if len(found) == 1 else 1)


def compared(cell: str) -> int:
    """How many variants a cell of the table compares with the first."""
    return len(VERDICTS.findall(cell))


def verdict(cells: dict[str, str]) -> str:
    """What the measurements of one question allow to say, for each data set that has any."""
    words = []
    for data in DATA:
        told = VERDICTS.findall(cells[data])
        if cells[data] == NOTHING:
            continue
        if not told:
            words.append(f"{data}: measured, nothing to compare")
        else:
            counts = {word: told.count(word) for word in ("better", "worse", "cannot tell") if word in told}
            words.append(f"{data}: " + ", ".join(f"{number} {word}" for word, number in counts.items()))
    return "; ".join(words) or NOTHING


def _measured(root: Path, found: Evidence) -> Iterator[tuple[str, str, str]]:
    """Parameters file, data and cell of whatever asks the question of one of the project's files."""
    cells: dict[tuple[str, str], list[str]] = {}
    for name, data, cell in _studied(root, found):
        cells.setdefault((name, data), []).append(cell)
    yield from ((*asked, "; ".join(told)) for asked, told in cells.items())


def _studied(root: Path, found: Evidence) -> Iterator[tuple[str, str, str]]:
    """Parameters file, data and what was measured, of every study."""
    for study in variants.studies(found.entries):
        rows: Sequence[Row] = variants.compare(study, "mAP")
        words = telling.measured(rows, "mAP")
        first = next(iter(study.variants.values()))[0]
        asked = first.asks.removesuffix(f"-{study.data}")  # on that data set by the base's name, or by its own
        path = root / "params" / f"{asked}.yaml"
        if words and study.data in DATA and study.story.claim and path.is_file():
            folder = first.dir.parent
            commits = {run.facts["commit"] for runs in study.variants.values() for run in runs}
            where = f"{folder.parent.name}/{folder.name}" if study.name == folder.parent.name else folder.name
            words += "" if _asked_by(study, path) else OTHERWISE
            words = words if study.protocol == "strict" else f"protocol {study.protocol}: {words}"
            yield asked, study.data, f"{words}. Runs `{where}`, commit {', '.join(sorted(commits))}"


def _asked_by(study: Study, path: Path) -> bool:
    """Whether every variant is one that the file, as it stands, asks about, and none of `--set`."""
    try:
        planned = plan(path)
    except ValueError:
        return False
    others, wanted = variants.SAMPLE | variants.PLACE, []
    for given in planned.runs.values():
        checked = Params.check(given).model_dump()
        wanted.append({name: checked[name] for name in given if name not in others})
    every = [run.parameters for runs in study.variants.values() for run in runs]
    return all(any(each.items() <= run.items() for each in wanted) for run in every)


def _cells(table: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Parameters file -> its measured cells, from the table as it stands."""
    for line in table.splitlines():
        parts = [part.strip() for part in line.strip().strip("|").split(" | ")]
        name = re.search(r"params/([^/]+)\.yaml", parts[-1])
        if len(parts) == len(HEAD) and name:
            yield name[1], dict(zip(DATA, parts[2:4], strict=True))


def _lines(root: Path, cells: dict[str, dict[str, str]]) -> Iterator[str]:
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + "---|" * len(HEAD)
    paths = sorted((root / "params").glob("*.yaml"))
    # what is measured comes first
    for path in sorted(paths, key=lambda path: verdict(cells.get(path.stem, UNMEASURED)) == NOTHING):
        said = variants.story(question(text_of(path)))
        if said.claim:
            have = cells.get(path.stem, UNMEASURED)
            rows = f" (row{'s' * (len(said.rows) > 1)} {', '.join(map(str, said.rows))})" if said.rows else ""
            link = f"[`{path.stem}`](../params/{path.name})"
            row = (said.question + rows, said.claim, *(have[data] for data in DATA), verdict(have), link)
            yield "| " + " | ".join(cell.replace("|", "/") for cell in row) + " |"
