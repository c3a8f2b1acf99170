"""Detection of edited notebooks: differences between the statements executed in a kernel and the committed notebook.

Layout, comments, the division into cells and the values of parameter cells (recorded elsewhere) are ignored. An added
statement counts if it binds a name that the notebook uses, assigns into an object, imports a module that is none of
LIBRARIES, or calls anything that does more than display.
"""

import ast
import difflib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tadlib.files import digest
from tadlib.project import project_root
from tadlib.workbook.params import Params
from tadlib.workbook.vocabulary import Names, names_in, other_cells, python_of

DISPLAY_ONLY = set(  # functions, methods and magics without effect on results
    "bar config count cpu describe detach dict dim display enumerate figure float format get_ipython getoutput hasattr "
    "head help hist html imshow int isinstance item items keys legend len list load_ext matplotlib max mean median min "
    "named_parameters norm numel numpy parameters pinfo pinfo2 plot print psource range repr round scatter set shape "
    "show sigmoid size softmax sorted state_dict std str sum system tail tolist topk tuple type values who whos zip"
    .split()
)  # fmt: skip
FIGURES = {"figures", "plt", "ax", "sns"}  # all functions of these only draw
LIBRARIES = set(sys.stdlib_module_names) | {"IPython", "matplotlib", "numpy", "pandas", "seaborn", "tadlib", "torch"}
ASSIGNMENTS = ("Assign(", "AnnAssign(")  # start of the AST dump of a parameter's assignment


class Statement(NamedTuple):
    """One top-level statement of a cell."""

    text: str
    names: Names
    acts: bool  # does more than bind names and display


def in_kernel(stage: str) -> dict[str, Any]:
    """Compare the cells executed in this kernel with a stage's committed notebook, as `compare` does."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return {}
    root = project_root()
    path = root / "notebooks" / f"{stage.partition('_on_')[0]}.ipynb"
    command = ["git", "show", f"HEAD:./notebooks/{path.name}"]
    shown = subprocess.run(command, cwd=root, capture_output=True, stdin=subprocess.DEVNULL, check=False).stdout
    notebook = shown or (path.read_bytes() if path.is_file() else b"")  # git may not track it
    return compare(shell.user_ns["In"], notebook) if notebook else {}


def compare(ran: Sequence[str], notebook: str | bytes) -> dict[str, Any]:
    """Compare executed cells with a notebook (JSON); return `digest` and `lines` of the changes, or an empty dict.

    Removed lines begin with -, added lines with +.
    """
    cells = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    sources = ("".join(cell["source"]) for cell in cells if "parameters" not in cell["metadata"].get("tags", ()))
    committed, executed = _statements(sources), _executed_statements(ran)
    used = frozenset().union(*(each.names.bound | each.names.used for each in committed.values())) - {"_"}
    removed = {key: each for key, each in committed.items() if key not in executed and (each.acts or each.names.bound)}
    added = {key: each for key, each in executed.items() if key not in committed and (each.acts or each.names.bound)}
    if not removed and not any(each.acts or each.names.bound & used for each in added.values()):
        return {}
    before, after = ("\n".join(each.text for each in changes.values()).splitlines() for changes in (removed, added))
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    return {"digest": digest([list(added), list(removed)]), "lines": changed}


def lines(records: Mapping[str, Mapping[str, Any]], stage: str = "") -> Iterator[str]:
    """Yield a line for each other stage of a run that was made by an edited notebook."""
    for other, edited in of_records(records).items():
        if other != stage:
            yield f"{other} of this run came from an edited notebook ({edited['digest']}), see run.json"


def of_records(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return stage -> changes of its notebook, for the stages of a run made by edited notebooks."""
    return {stage: record["edited"] for stage, record in records.items() if record.get("edited")}


def mark(edited: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a hash of all edits of a run; empty for none."""
    digests = [each["digest"] for each in edited.values()]
    return digests[0] if len(digests) == 1 else digest(digests) if digests else ""


def _executed_statements(cells: Sequence[str]) -> dict[str, Statement]:
    """Return the executed statements, without the assignments of parameter cells."""
    others, found = set(other_cells(cells, Params.model_fields)), {}
    for text in cells:
        statements = _statements([text])
        found |= {key: each for key, each in statements.items() if text in others or not key.startswith(ASSIGNMENTS)}
    return found


def _statements(cells: Iterable[str]) -> dict[str, Statement]:
    """Return the statements of cells by AST dump, which ignores layout and comments; invalid Python is skipped."""
    found = {}
    for text in map(python_of, cells):
        try:
            body = ast.parse(text).body
        except SyntaxError:
            continue
        for node in body:
            source = ast.get_source_segment(text, node) or ast.unparse(node)
            found[ast.dump(node)] = Statement(source, names_in(source), any(map(_acts, _executed_nodes(node))))
    return found


def _executed_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that are executed with a statement: all but function bodies."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _executed_nodes(child)


def _acts(node: ast.AST) -> bool:
    """Whether a node assigns into an object, imports another module than LIBRARIES, or calls more than display."""
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
    return name not in DISPLAY_ONLY and words[0] not in FIGURES
