"""The notebooks as sources: the method without machinery and without outputs, parameters as in the vocabulary."""

import ast

import nbformat
import papermill
import pytest
from conftest import ROOT

from tadlib.workbook import papermill_arguments
from tadlib.workbook.params import RECIPES

SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHORT = 8  # lines of a function in a cell
MACHINERY = (ast.ClassDef, ast.Lambda, ast.Try, ast.With, ast.While)


def code(path) -> list:
    """The code cells of a notebook."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_an_essay(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    first, second = notebook.cells[:2]
    assert first.cell_type == "markdown" and first.source.startswith("# "), "cell 1 is the title and the story"
    assert "*Question:*" in first.source and "*Reads:*" in first.source and "*Writes:*" in first.source
    assert second.metadata.get("tags") == ["parameters"], "cell 2 holds the parameters"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.tadlib.stage == path.stem, "how the engine knows its own"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_cells_hold_the_method_and_no_machinery(path):
    """Loops, an `if` on a parameter, short functions and long calls are the method; classes and `try` are not."""
    assert len(code(path)) <= 20
    for cell in code(path):
        assert not cell.outputs and cell.execution_count is None, "commit notebooks without outputs"
        assert "parameters" in cell.metadata.get("tags", []) or len(cell.source.splitlines()) <= 40, cell.source
        nodes = list(ast.walk(ast.parse(cell.source)))
        found = [type(node).__name__ for node in nodes if isinstance(node, MACHINERY)]
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        found += [f"{each.name}, a long function" for each in functions if each.end_lineno - each.lineno >= SHORT]
        assert not found, f"this belongs in tadlib: {found} in\n{cell.source}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_tables_and_figures_end_their_cells(path):
    """Of a cell's expressions Jupyter shows the value of the last one alone."""
    for cell in code(path):
        hidden = [ast.unparse(node) for node in ast.parse(cell.source).body[:-1] if isinstance(node, ast.Expr)]
        assert not [text for text in hidden if text.startswith(("display.", "figures."))], cell.source


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_parameters_agree_with_the_vocabulary(path):
    for node in ast.parse(code(path)[0].source).body:
        field = papermill_arguments.vocabulary(path.stem).model_fields[node.target.id]
        default = ast.literal_eval(node.value)
        # None in a cell: the data set's recipe decides, which a value would beat
        recipes = path.stem != "detect" and any(node.target.id in recipe for recipe in RECIPES.values())
        assert default == (None if recipes else field.default), f"{node.target.id}: two defaults"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_papermill_understands_every_parameter_and_its_meaning(path):
    found = papermill.inspect_notebook(path)
    assert list(found) == [node.target.id for node in ast.parse(code(path)[0].source).body]
    assert all(len(parameter["help"]) > 10 for parameter in found.values())
