"""`tad report`: the comparison of any runs as an executed notebook and a page, and the lab log brought up to date."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tadlib.files import read_json
from tadlib.workbook import evidence, execution, lab_log, runs
from tadlib.workbook.report import page
from tadlib.workbook.report_params import ReportParams

Say = Callable[[str], None]


def report(folders: Sequence[str], changes: Mapping[str, Any], say: Say = print) -> Path:
    """The page of a comparison of all runs below the folders, beside its notebook.

    One folder: the report lies in it; several: in a new folder under outputs/reports/. Raises ValueError for
    parameters that cannot be, and RunError where there is no run or where report.ipynb fails.
    """
    params = ReportParams.check({"experiments": list(folders)} | dict(changes))
    places = [runs.resolve(folder) for folder in params.folders]
    found = evidence.read(places)
    root = runs.project_root()
    for entry in found.entries:
        _pages(entry.dir, say)
    target = places[0] if len(places) == 1 else root / "outputs" / "reports" / runs.new_name()
    given = params.changed() | {"experiments": params.experiments, "run_dir": _short(target, root)}
    reason = execution.execute_notebook("report", target / "report.ipynb", given)
    if reason is not None:
        raise runs.RunError(f"report.ipynb failed ({reason}): see {target / 'report.ipynb'}")
    made = page(target / "report.ipynb")
    kept = target / "report.json"
    for line in lab_log.update(root, read_json(kept)) if kept.is_file() else ():
        say(line)
    return made


def _pages(folder: Path, say: Say) -> None:
    """Make the page of every executed notebook of a run that has none, or an older one."""
    for notebook in sorted(folder.glob("[!.]*.ipynb")):
        made = notebook.with_suffix(".html")
        if not made.is_file() or made.stat().st_mtime < notebook.stat().st_mtime:
            say(f"page: {page(notebook)}")


def _short(path: Path, root: Path) -> str:
    """Relative to the project where that means the same: the path is recorded in the notebook, which others may see."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
