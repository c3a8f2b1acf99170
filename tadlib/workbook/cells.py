"""Which cells of a notebook set parameters: those of plain assignments, read without running them."""

import ast
from collections.abc import Iterable


def assigned(cells: Iterable[str]) -> set[str]:
    """Names set in those cells that hold nothing but assignments of literals."""
    names: set[str] = set()
    for cell in cells:
        try:
            body = ast.parse(cell).body
        except SyntaxError:  # a cell with a magic in it
            continue
        if body and all(_is_literal(statement) for statement in body):
            names |= {target.id for statement in body for target in _targets(statement) if isinstance(target, ast.Name)}
    return names


def _targets(statement: ast.stmt) -> list[ast.expr]:
    return [statement.target] if isinstance(statement, ast.AnnAssign) else statement.targets


def _is_literal(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return False
    try:
        ast.literal_eval(statement.value)
    except ValueError:
        return False
    return True
