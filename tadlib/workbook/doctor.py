"""`tad doctor`: reports installed packages, the device, data sets and trained runs, with advice on what is missing."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from tadlib.project import project_root
from tadlib.workbook.runs import PACKAGES, device_name, written

PYTHONS = ((3, 11), (3, 14))  # supported versions: from the first to below the second
DATASETS = ("demo", "thumos14", "activitynet13")


class Finding(NamedTuple):
    """One line of the report: the item checked, the result, and advice if there is a problem."""

    what: str
    found: str
    advice: str = ""
    serious: bool = False  # nothing runs until the advice is followed


def examine() -> Iterator[Finding]:
    """Yield all findings about this machine and this checkout."""
    supported = PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]
    advice = "" if supported else "install Python 3.11 to 3.13 and make the environment anew"
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}", advice, not supported)
    for package in PACKAGES:
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, "missing", 'pip install -c requirements.lock -e ".[dev]"', True)
            return
    import torch

    usable = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    unseen = "cuda" not in usable and torch.version.cuda is not None and shutil.which("nvidia-smi") is not None
    advice = "torch does not see the GPU: see Trouble in README.md" if unseen else ""
    yield Finding("device", f"{device_name('auto')}; usable: {', '.join(usable)}", advice)
    root = project_root()
    yield Finding("project", f"{root}, {shutil.disk_usage(root).free / 1e9:.1f} GB free")
    for name in DATASETS:
        yield _dataset(name, root / "data" / name)
    if found := written("checkpoint.pt"):
        yield Finding("trained runs", f"{len(found)}, the latest in {found[0].parent.relative_to(root)}")
    else:
        yield Finding("trained runs", "none with a checkpoint", main_job())


def main_job() -> str:
    """Return the workbook's first command as it works here: with uv, or in an active environment."""
    by_uv = not os.environ.keys().isdisjoint({"UV", "UV_RUN_RECURSION_DEPTH"}) or shutil.which("papermill") is None
    return "uv run " * by_uv + "papermill notebooks/train.ipynb -p split 50"


def _dataset(name: str, folder: Path) -> Finding:
    if not folder.is_dir():
        missing = f"not here (would be in {folder}; not needed for the demo)"
        return Finding(name, "made on first use" if name == "demo" else missing)
    from tadlib.data.datasets import find_annotations

    counts = {part: sum(1 for _ in (folder / part).rglob("*.*")) for part in ("videos", "features")}
    found = ", ".join(f"{number} files in {part}" for part, number in counts.items())
    try:
        find_annotations(folder, name)
    except (FileNotFoundError, ValueError) as error:
        return Finding(name, f"{found}, no annotations", "" if name == "demo" else str(error))
    return Finding(name, found, "" if any(counts.values()) else f"put videos or features into {folder}")


def main() -> int:
    """Print the findings with advice, and the next step; return 1 if nothing can run before that step."""
    findings = list(examine())
    for finding in findings:
        print(f"{'!' if finding.advice else ' '} {finding.what:<18}{finding.found}")
        if finding.advice:
            print(f"{'':<20}-> {finding.advice}")
    serious = [finding.advice for finding in findings if finding.serious]
    print(f"next: {(*serious, main_job())[0]}")
    return int(bool(serious))
