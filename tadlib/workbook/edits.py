"""Differences between the statements that ran in a kernel and those of the committed notebook.

Layout, comments and the division into cells do not count, nor do the values of parameter cells, which are recorded by
themselves. A statement of the reader's counts if it binds a name that the notebook uses, stores into an object, imports
a module of their own, or calls anything that does more than look.
"""

import ast
import difflib
import json
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tadlib.files import digest
from tadlib.workbook.vocabulary import Names, names_in, other_cells, python_of

LOOKS = set(  # functions, methods and magics that change nothing
    "bar config count cpu describe detach dict dim display enumerate figure float format get_ipython getoutput hasattr "
    "head help hist html imshow int isinstance item items keys legend len list load_ext matplotlib max mean median min "
    "named_parameters norm numel numpy parameters pinfo pinfo2 plot print psource range repr round scatter set shape "
    "show sigmoid size softmax sorted state_dict std str sum system tail tolist topk tuple type values who whos zip"
    .split()
)  # fmt: skip
FIGURES = {"figures", "plt", "ax", "sns"}  # whatever is called of these draws
LIBRARIES = set(sys.stdlib_module_names) | {"IPython", "matplotlib", "numpy", "pandas", "seaborn", "tadlib", "torch"}
VALUES = ("Assign(", "AnnAssign(")  # how the code of a parameter's value begins


class Statement(NamedTuple):
    """One statement on the top level of a cell."""

    text: str
    names: Names
    acts: bool  # does more than bind names and look


def in_kernel(stage: str, known: Collection[str], root: Path) -> dict[str, Any]:
    """What the cells of this kernel change of a stage's notebook; empty for nothing, and where there is no kernel.

    `known` are the names of parameters, `root` is the project. The notebook is that of the last commit, or its file
    where git does not know it.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return {}
    path = root / "notebooks" / f"{stage.partition('_on_')[0]}.ipynb"
    command = ["git", "show", f"HEAD:./notebooks/{path.name}"]
    shown = subprocess.run(command, cwd=root, capture_output=True, stdin=subprocess.DEVNULL, check=False).stdout
    notebook = shown or (path.read_bytes() if path.is_file() else b"")
    return compare(shell.user_ns, known, notebook) if notebook else {}


def compare(namespace: Mapping[str, Any], known: Collection[str], notebook: str | bytes) -> dict[str, Any]:
    """What the cells that ran change of a notebook, given as JSON: `digest` and `lines`; empty for nothing.

    `namespace` is globals() of the notebook, `known` are the names of parameters. Of the lines removed ones begin with
    -, and others with +.
    """
    cells = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    sources = ("".join(cell["source"]) for cell in cells if "parameters" not in cell["metadata"].get("tags", ()))
    committed, ran = _statements(sources), _ran(namespace.get("In", []), known)
    used = frozenset().union(*(each.names.bound | each.names.used for each in committed.values())) - {"_"}
    lacking = {code: each for code, each in committed.items() if code not in ran and (each.acts or each.names.bound)}
    own = {code: each for code, each in ran.items() if code not in committed and (each.acts or each.names.bound)}
    if not lacking and not any(each.acts or each.names.bound & used for each in own.values()):
        return {}
    before, after = (
        [line for each in statements.values() for line in each.text.splitlines()] for statements in (lacking, own)
    )
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    return {"digest": digest([list(own), list(lacking)]), "lines": changed}


def lines(records: Mapping[str, Mapping[str, Any]], stage: str = "") -> Iterator[str]:
    """A line for each other stage of a run that an edited notebook made."""
    for other, edited in of_records(records).items():
        if other != stage:
            yield f"{other} of this run came from an edited notebook ({edited['digest']}), see run.json"


def of_records(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Stage -> what was changed in its notebook, of the stages of a run that edited notebooks made."""
    return {stage: record["edited"] for stage, record in records.items() if record.get("edited")}


def mark(edited: Mapping[str, Mapping[str, Any]]) -> str:
    """A few digits that stand for all edits of a run; empty for none."""
    digests = [each["digest"] for each in edited.values()]
    return digests[0] if len(digests) == 1 else digest(digests) if digests else ""


def _ran(texts: Iterable[str], known: Collection[str]) -> dict[str, Statement]:
    """The statements that ran, but for the values that parameter cells set."""
    others, found = set(other_cells(texts, known)), {}
    for text in texts:
        statements = _statements([text])
        found |= {code: each for code, each in statements.items() if text in others or not code.startswith(VALUES)}
    return found


def _statements(cells: Iterable[str]) -> dict[str, Statement]:
    """Statements of cells by what they do, their code without layout and comments; none of what is no Python."""
    found = {}
    for text in map(python_of, cells):
        try:
            body = ast.parse(text).body
        except SyntaxError:
            continue
        for node in body:
            source = ast.get_source_segment(text, node) or ast.unparse(node)
            found[ast.dump(node)] = Statement(source, names_in(source), any(map(_acts, _executed(node))))
    return found


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that are executed with it: not the bodies of functions."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.Lambda):
        for each in ast.iter_child_nodes(node):
            yield from _executed(each)


def _acts(node: ast.AST) -> bool:
    """Whether a part of a statement stores into an object, imports a module of the reader's, or calls what may act."""
    if isinstance(node, ast.Attribute | ast.Subscript):
        return not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        return any(module.split(".")[0] not in LIBRARIES for module in modules)
    if not isinstance(node, ast.Call):
        return False
    *_, name = words = ast.unparse(node.func).split(".")
    if name in ("run_line_magic", "run_cell_magic"):
        name = ast.literal_eval(node.args[0])
    return name not in LOOKS and words[0] not in FIGURES
