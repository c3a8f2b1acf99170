"""What the parameter cells of a notebook set: the tagged cell, and the one that papermill injects after it.

A kernel knows the texts of the cells that ran (`In`), not their tags. The injected cell begins with papermill's
comment. The tagged cell is the one that sets most names of the vocabulary, with types as the notebooks write them where
any does; of its versions, and of those of the injected cell, the latest counts. All other cells are the reader's own.
"""

import ast
from collections.abc import Collection, Mapping, Sequence
from typing import Any

INJECTED = "# Parameters"
IN_PLACE = ("time", "capture", "prun")  # magics that run what follows in the notebook's own names


def values(namespace: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """What the parameter cells of a notebook set, by name; `namespace` is its globals(), `known` the vocabulary.

    Raises ValueError where another cell has since used a parameter's name, and the value is not to be read in the text.
    """
    cells = [_Names(cell) for cell in namespace.get("In", [])]
    ours = _parameter_cells(cells, known)
    found: dict[str, Any] = {}
    for name in {name for place in ours for name in cells[place].parameters(known)} & set(namespace):
        found[name] = namespace[name]
        setters = [place for place, cell in enumerate(cells) if name in cell.stored | cell.made]
        if setters[-1] not in ours:
            place = [place for place in setters if place in ours][-1]
            try:
                found[name] = ast.literal_eval(cells[place].written[name])
            except (KeyError, ValueError):
                raise ValueError(
                    f"{name} of the parameters cell was set again in another cell, which now reads "
                    f"{namespace[name]!r:.60}: run the parameters cell again, or give that variable another name"
                ) from None
    return found


def injected(namespace: Mapping[str, Any], known: Collection[str]) -> set[str]:
    """The names that papermill's cell sets."""
    cells = [_Names(cell) for cell in namespace.get("In", [])]
    places = [place for place in _parameter_cells(cells, known) if cells[place].injected]
    return {name for place in places for name in cells[place].parameters(known)}


def others(namespace: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """The texts of the cells that ran and set no parameters, each once."""
    texts = list(namespace.get("In", []))
    ours = sum(_versions([_Names(cell) for cell in texts], known), [])
    return list(dict.fromkeys(text for place, text in enumerate(texts) if place not in ours))


def _parameter_cells(cells: "Sequence[_Names]", known: Collection[str]) -> list[int]:
    """The places of the cell tagged as parameters and of the injected one, as they ran last."""
    return sorted(place for places in _versions(cells, known) for place in places[-1:])


def _versions(cells: "Sequence[_Names]", known: Collection[str]) -> tuple[list[int], list[int]]:
    """The places of the cell tagged as parameters, each time that it ran, and those of the injected one."""
    added = [place for place, cell in enumerate(cells) if cell.injected]
    own = [place for place, cell in enumerate(cells) if not cell.injected and cell.parameters(known) & set(known)]
    if not own:
        return [], added
    names = [cell.parameters(known) & set(known) for cell in cells]
    first = max(own, key=lambda place: (bool(cells[place].typed & set(known)), len(names[place])))
    return [place for place in own if 2 * len(names[place] & names[first]) >= len(names[first])], added


class _Names(ast.NodeVisitor):
    """The names that a cell binds; none where it is no Python.

    stored: by assignments; made: by imports, definitions, loops and `with`; typed: stored with a type beside; read:
    names whose values the cell itself uses; written: the expression of the last plain assignment of a name.
    """

    def __init__(self, cell: str) -> None:
        self.stored: set[str] = set()
        self.made: set[str] = set()
        self.typed: set[str] = set()
        self.read: set[str] = set()
        self.written: dict[str, ast.expr] = {}
        self.injected = cell.lstrip().startswith(INJECTED)
        self._parse(cell)

    def parameters(self, known: Collection[str]) -> set[str]:
        """The names that are meant as parameters: all of the vocabulary, and what may be one misspelt.

        What the cell itself reads again, or begins with _, is a help of the reader's.
        """
        helps = {name for name in self.stored if name in self.read or name.startswith("_")}
        return (self.stored - helps) | ((self.stored | self.made) & set(known))

    def _parse(self, cell: str) -> None:
        from IPython.core.inputtransformer2 import TransformerManager

        try:
            tree = ast.parse(TransformerManager().transform_cell(cell))
        except SyntaxError:
            return
        for statement in tree.body:
            self.visit(statement)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.stored.add(node.id)
            self.written.pop(node.id, None)
        elif isinstance(node.ctx, ast.Load):
            self.read.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        self.written |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is None or not isinstance(node.target, ast.Name):
            return
        self.visit(node.value)
        self.visit(node.target)
        self.typed.add(node.target.id)
        self.written[node.target.id] = node.value

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        words = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        if (
            getattr(node.func, "attr", "") in ("run_cell_magic", "run_line_magic")
            and words[:1]
            and words[0] in IN_PLACE
        ):
            self._parse(words[-1])

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target)
        for part in (node.iter, *node.body, *node.orelse):
            self.visit(part)

    def visit_withitem(self, node: ast.withitem) -> None:
        self.visit(node.context_expr)
        if node.optional_vars is not None:
            self._bind(node.optional_vars)

    def visit_alias(self, node: ast.alias) -> None:
        self.made.add((node.asname or node.name).split(".")[0])

    def _bind(self, target: ast.expr) -> None:
        self.made |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}

    def _scope(self, node: ast.AST) -> None:
        """A function, class or comprehension: what is bound inside is its own."""
        self.made |= {node.name} if hasattr(node, "name") else set()
        self.read |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _scope
    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _scope
