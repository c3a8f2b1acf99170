"""How the cells that ran in a kernel differ from the notebook as it is committed.

Statements are compared, so comments, layout and how they are divided into cells do not count. Values of the parameter
cells do not either: they are recorded by themselves. Statements of the reader's that only look at something are left
out: they bind no name that the notebook uses, and call nothing but what is listed here as harmless.
"""

import ast
import difflib
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tadlib.files import digest
from tadlib.workbook.vocabulary import names_in, other_cells, python_of

NEW = "added code"
LONGEST = 30  # lines shown of one change
MADE = {"train": "detector", "classify": "detections", "evaluate": "metrics"}  # what a stage leaves for later ones

FUNCTIONS = set(
    "abs all any bool dict dir display enumerate float format get_ipython getattr hasattr help id int isinstance len "
    "list max min print range repr reversed round set sorted str sum tuple type vars zip".split()
)
METHODS = set(
    "argmax argmin argsort bar barh children copy count cpu describe detach dim figure float format get_title "
    "getoutput head hist histc imshow item items join keys legend mean median min max named_parameters no_grad norm "
    "numel numpy parameters plot quantile reshape round scatter set_title set_xlabel set_ylabel show sigmoid size "
    "softmax sort_values split startswith state_dict std sum system tail tolist topk unique values".split()
)
MODULES = {"figures", "display", "plt", "sns", "pd", "ax", "axes", "fig"}
MAGICS = set("config load_ext autoreload matplotlib pinfo pinfo2 psource pwd ls who whos html markdown".split())
LIBRARIES = set(sys.stdlib_module_names) | {"IPython", "matplotlib", "numpy", "pandas", "seaborn", "tadlib", "torch"}


class Statement(NamedTuple):
    """One statement on the top level of a cell."""

    text: str
    heading: str  # of the section that it stands in
    node: ast.stmt

    @property
    def code(self) -> str:
        """What the statement does, without its layout and comments."""
        return ast.dump(self.node)

    @property
    def bound(self) -> frozenset[str]:
        """The names that the statement binds in the notebook."""
        return names_in(self.text).bound

    @property
    def names(self) -> set[str]:
        """Every name in the statement."""
        return {part.id for part in ast.walk(self.node) if isinstance(part, ast.Name)} | self.bound


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
    shown = subprocess.run(command, cwd=root, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if shown.returncode == 0:
        return compare(shell.user_ns, known, shown.stdout.decode())
    return compare(shell.user_ns, known, path.read_text(encoding="utf-8")) if path.is_file() else {}


def compare(namespace: Mapping[str, Any], known: Collection[str], notebook: str) -> dict[str, Any]:
    """What the cells that ran change of a notebook, given as JSON: `digest` and `changes`; empty for nothing.

    `namespace` is globals() of the notebook, `known` are the names of parameters. A change says where it is (`where`,
    the heading of the section) and what (`lines`, of which removed ones begin with -, and others with +).
    """
    committed, ran = list(_committed(notebook)), list(_ran(namespace, known))
    expected, done = {each.code for each in committed}, {each.code for each in ran}
    used = {name for each in committed for name in each.names} - {"_"}
    own = list({each.code: each for each in ran if each.code not in expected}.values())
    shown = {each.code for each in committed if isinstance(each.node, ast.Expr) and _only_looks(each, ())}
    lacking = [each for each in committed if each.code not in done | shown]
    changed = {each.code for each in own if not _only_looks(each, used)}
    if not changed and not lacking:
        return {}
    own = _with_helpers(own, changed)
    texts = [[line for each in statements for line in each.text.splitlines()] for statements in (lacking, own)]
    lines = [line for line in difflib.ndiff(*texts) if line[0] in "+-"]
    more = [f"... {len(lines) - LONGEST} more lines"] if len(lines) > LONGEST else []
    where = ", ".join(dict.fromkeys(each.heading for each in lacking)) or NEW
    codes = [[each.code for each in statements] for statements in (own, lacking)]
    return {"digest": digest(codes), "changes": [{"where": where, "lines": lines[:LONGEST] + more}]}


def lines(records: Mapping[str, Mapping[str, Any]], stage: str = "") -> Iterator[str]:
    """A line for each other stage of a run that an edited notebook made."""
    for other, edited in of_records(records).items():
        if other != stage:
            made, where = MADE.get(other, f"{other} stage"), dict.fromkeys(each["where"] for each in edited["changes"])
            yield (
                f"the {made} of this run came from an edited notebook ({', '.join(where)}; {edited['digest']}): "
                "run.json has the changes"
            )


def of_records(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Stage -> what was changed in its notebook, of the stages of a run that edited notebooks made."""
    return {stage: record["edited"] for stage, record in records.items() if record.get("edited")}


def mark(edited: Mapping[str, Mapping[str, Any]]) -> str:
    """A few digits that stand for all edits of a run; empty for none."""
    digests = [each["digest"] for each in edited.values()]
    return digests[0] if len(digests) == 1 else digest(digests) if digests else ""


def _committed(notebook: str) -> Iterator[Statement]:
    """The statements of a notebook's code cells but for that of its parameters."""
    heading = ""
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and source.startswith("#"):
            heading = source.splitlines()[0].lstrip("# ")
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", ()):
            yield from _statements(source, heading)


def _ran(namespace: Mapping[str, Any], known: Collection[str]) -> Iterator[Statement]:
    """The statements that ran, but for the values that parameter cells set."""
    texts = namespace.get("In", [])
    others = set(other_cells(texts, known))
    for text in texts:
        for each in _statements(text, NEW):
            if text in others or not isinstance(each.node, ast.Assign | ast.AnnAssign):
                yield each


def _statements(cell: str, heading: str) -> Iterator[Statement]:
    """The statements of a cell; none where it is no Python, and so cannot have run."""
    text = python_of(cell)
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    for node in tree.body:
        yield Statement(ast.get_source_segment(text, node) or ast.unparse(node), heading, node)


def _only_looks(statement: Statement, used: Collection[str]) -> bool:
    """Whether a statement changes nothing that the notebook uses, as far as its text tells."""
    return not statement.bound & set(used) and all(map(_harmless, _executed(statement.node)))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that are executed with it: not the bodies of functions and lambdas."""
    yield node
    if isinstance(node, ast.Lambda):
        return
    inner = node.decorator_list if isinstance(node, ast.FunctionDef) else ast.iter_child_nodes(node)
    for each in inner:
        yield from _executed(each)


def _harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute | ast.Subscript):
        return isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        return all(module.split(".")[0] in LIBRARIES for module in modules)
    if not isinstance(node, ast.Call):
        return True
    if isinstance(node.func, ast.Name):
        return node.func.id in FUNCTIONS
    if not isinstance(node.func, ast.Attribute):
        return False
    if node.func.attr in ("run_line_magic", "run_cell_magic"):
        return ast.literal_eval(node.args[0]) in MAGICS
    root = node.func.value
    while isinstance(root, ast.Attribute | ast.Subscript):
        root = root.value
    return node.func.attr in METHODS or (isinstance(root, ast.Name) and root.id in MODULES)


def _with_helpers(own: Sequence[Statement], changed: Collection[str]) -> list[Statement]:
    """The statements that change something, and those that bind what they use, in their order."""
    kept = set(changed)
    while True:
        wanted = {name for each in own if each.code in kept for name in each.names}
        more = {each.code for each in own if each.bound & wanted} - kept
        if not more:
            return [each for each in own if each.code in kept]
        kept |= more
