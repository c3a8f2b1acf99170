"""The plan of the house, held by reading it: which module may import which, who draws, how long files are."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

# from the ground up: a room may import from rooms above its own line, a module from its own room
ROOMS = (
    "foreign files locks tensors devices project segments data detector naming evaluation task ideas workbook".split()
)
MODULES = sorted((ROOT / "tadlib").rglob("*.py"))
SHARED = {"matching"}  # names of two modules
LONGEST = 300  # lines of a file


def room(module: str) -> str:
    """The room of a dotted module name."""
    return (module.split(".") + [""])[1]


@cache
def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = path.relative_to(ROOT / "tadlib").parts[0].removesuffix(".py")
    if own == "__init__":
        assert not any(name.startswith("tadlib") for name in imports(path))
        return
    below = {name for name in imports(path) if name.startswith("tadlib.") and room(name) in ROOMS}
    late = {name for name in below if ROOMS.index(room(name)) > ROOMS.index(own)}
    assert not late, f"{own} must not know {late}"


def test_no_imports_go_in_circles():
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    order = TopologicalSorter({name: imports(path) & set(names) for name, path in names.items()})
    assert len(list(order.static_order())) >= len(names)  # raises CycleError, which names the circle


def test_no_two_modules_share_a_name():
    """But for figures, named for what they draw, and the two matchings: of queries to actions, of results to truth."""
    plain = [path for path in MODULES if path.stem != "__init__" and path.parent.name != "figures"]
    counts = Counter(path.stem for path in plain)
    assert {name for name, number in counts.items() if number > 1} <= SHARED


@pytest.mark.parametrize(
    "library, allowed",
    [
        ("matplotlib", "workbook/figures/"),
        ("seaborn", "workbook/figures/"),
        ("papermill", "workbook/engine.py"),
        ("open_clip", "data/encoder.py"),  # where its remark on progress bars is kept out of notebooks
        ("nbconvert", "workbook/report.py"),
    ],
)
def test_only_one_place_knows_a_library(library, allowed):
    users = [
        path.relative_to(ROOT / "tadlib").as_posix()
        for path in MODULES
        if library in {name.split(".")[0] for name in imports(path)}
    ]
    assert users and all(user.startswith(allowed) for user in users), users


def test_no_test_imports_another():
    shared = {"test_published.py": {"test_matching"}}  # golden, and left as it is
    for path in (ROOT / "tests").glob("test_*.py"):
        others = {*re.findall(r"(?m)^ *(?:from|import) (test_\w+)", path.read_text(encoding="utf-8"))}
        assert others <= shared.get(path.name, set()), path.name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_one_responsibility_and_is_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text)), "the module says what it knows"


def lines(paths):
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def test_the_module_grows_no_larger():
    """The aims are 10,000 lines for the core, 1,800 for ideas, 1,400 for the demo, 90 files, 11,500 lines of tests."""
    parts = {name: [path for path in MODULES if name in path.parts] for name in ("ideas", "demo")}
    core = [path for path in MODULES if path not in (*parts["ideas"], *parts["demo"])]
    sizes = lines(core), lines(parts["ideas"]), lines(parts["demo"]), len(MODULES)
    assert all(size <= most for size, most in zip(sizes, (16_039, 2_033, 1_390, 134), strict=True)), sizes
    assert lines((ROOT / "tests").rglob("*.py")) <= 16_732


@pytest.mark.notebooks
def test_importing_the_package_costs_nothing():
    rare = {"torchvision", "torch._dynamo", "seaborn", "scipy.stats", "open_clip", "nbformat"}
    heavy = rare | {"torch", "numpy", "pandas", "matplotlib", "IPython"}
    kept_out = {"tadlib": heavy, "tadlib.workbook.cli": heavy}
    before = "tadlib.workbook.inheritance, tadlib.workbook.notebook_params"  # read before a kernel starts
    kept_out |= {before: heavy - {"numpy"}}
    kept_out |= {"tadlib.workbook.results, tadlib.workbook.figures, tadlib.workbook.own_video": rare}  # first cells
    code = "import sys" + "".join(f"\nimport {name}; print({out} & {{*sys.modules}})" for name, out in kept_out.items())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()"] * 4, done.stdout


@pytest.mark.notebooks
@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_content(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_conda_gets_the_same_packages_as_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    *conda, pip = environment["dependencies"]
    assert {name.split("=")[0] for name in conda} == {"python", "pip", "ffmpeg"}
    assert pip == {"pip": ["-e .[dev]"]} and "dev" in project["optional-dependencies"]
    minor = next(int(name.split(".")[1]) for name in conda if name.startswith("python="))
    assert project["requires-python"] == ">=3.11,<3.14" and 11 <= minor < 14


def test_the_lock_pins_every_dependency_and_names_no_address():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = {line.split("==")[0].lower() for line in lock.splitlines() if "==" in line}
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {name.split(">")[0].split("[")[0].lower().replace("_", "-") for name in wanted}
    assert names <= pinned, names - pinned
    assert "://" not in lock


def test_the_floor_plan_names_every_module_and_no_other():
    plan = (ROOT / "tadlib" / "README.md").read_text(encoding="utf-8")
    for part in plan.split("## `")[1:]:
        folder, rest = part.split("/`", 1)
        there = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        told = {line.split("`")[1] for line in rest.splitlines() if line.startswith("| `")}
        assert told == there, folder
