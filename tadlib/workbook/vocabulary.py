"""Checked parameters of a notebook: read from its cells, errors in one sentence each, display as HTML.

A kernel knows the texts of the executed cells (`In`), not their tags. The cell that papermill injects starts with a
fixed comment. The parameters cell is the one that sets most names of the vocabulary; cells that annotate types, as the
notebooks do, take precedence. The latest execution of each counts. All other cells are the reader's own.
"""

import ast
import difflib
import re
import symtable
import typing
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from os import PathLike
from typing import Any, ClassVar, Literal, NamedTuple

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tadlib.data.checks import nearest
from tadlib.files import is_text

INJECTED = "# Parameters"  # papermill's comment
# cell magics that execute the cell in the notebook's namespace, as IPython rewrites them
TIMED = tuple(f"get_ipython().run_cell_magic('{name}'," for name in ("time", "capture", "prun"))
IGNORED = {"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"}  # papermill's own, with --inject-paths


class Need(NamedTuple):
    """A condition of some parameters on the others."""

    names: str  # the parameters, separated by spaces
    says: str  # rest of the error message after the parameter and its value
    holds: Callable[[Any], object]  # whether parameters (`facts`) meet the condition

    def refusal(self, name: str, params: "Vocabulary") -> str:
        """Return the error message: parameter and value, the condition, and the values of parameters named in it."""
        words = dict.fromkeys(re.findall(r"(?<![=\w])\w+", self.says))  # without values, such as proposed_by=snippets
        others = [word for word in words if word in type(params).model_fields]
        value, *got = (f"{each}={str(getattr(params, each)).lower()}" for each in (name, *others))
        return f"{value} {self.says}" + (f", got {', '.join(got)}" if got else "")


class Vocabulary(BaseModel):
    """Parameters of a notebook; immutable and complete: every name has a checked value."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    writes_to: ClassVar[str] = "run_dir"  # name of the parameter with the output folder
    effects: ClassVar[tuple[Need, ...]] = ()  # conditions for an effect; a given value without one is an error

    @field_validator("*", mode="before")
    @classmethod
    def _convert(cls, value: Any, info: Any) -> Any:
        """Convert numbers to text and back: papermill passes a folder called 007 as 7, and `-r split 50` as text."""
        kind = cls.model_fields[info.field_name].annotation
        if isinstance(value, str) and not is_text(value):
            raise ValueError(f"{info.field_name} must be text without control characters; got {value!r}")
        if kind is str and isinstance(value, int | PathLike) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, bool) and (kind in (int, float) or int in map(type, typing.get_args(kind))):
            raise ValueError(f"{info.field_name} must be no yes or no; got {value}")
        if isinstance(value, str) and value.isdecimal() and int(value) in typing.get_args(kind):
            return int(value)
        return value

    @classmethod
    def free_text(cls) -> frozenset[str]:
        """Return the names of parameters whose value may be any text."""
        return frozenset(name for name, field in cls.model_fields.items() if field.annotation is str)

    @classmethod
    @cache
    def _with_none(cls) -> set[str]:
        """Return the names of parameters of which "none" is a choice."""
        return {name for name, field in cls.model_fields.items() if "none" in typing.get_args(field.annotation)}

    @classmethod
    def stated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values without None, which stands for the default, except where "none" is a choice."""
        refused = cls._with_none()
        return {n: value for n, value in values.items() if n not in IGNORED and (value is not None or n in refused)}

    @classmethod
    def recipe(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return values that override the defaults, and are overridden by given values."""
        return {}

    @classmethod
    def check(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> "Vocabulary":
        """Return checked parameters from given values; those of a run (`known`), recipe and defaults supply the others.

        Raises ValueError with one sentence for each mistake: name, value, what is allowed, nearest valid name; also for
        a given value that differs from the one it replaces but has no effect, with the reason.
        """
        params, idle = cls._checked(given, known or {})
        if idle:
            raise ValueError("; ".join(idle.values()))
        return params

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Vocabulary":
        """Return checked parameters of an existing run, checkpoint or plan; values without effect are allowed."""
        return cls._checked({}, values)[0]

    def but(self, **changes: Any) -> "Vocabulary":
        """Return checked parameters with some values changed; values without effect are allowed."""
        return self.read(dict(self) | changes)

    @classmethod
    def idle(cls, given: Mapping[str, Any]) -> dict[str, str]:
        """Return the given parameters that have no effect with the other values, and the reasons."""
        return cls._checked(given, {})[1]

    @classmethod
    def _checked(cls, given: Mapping[str, Any], known: Mapping[str, Any]) -> tuple["Vocabulary", dict[str, str]]:
        for name in (known | given).keys() - IGNORED:
            if name not in cls.model_fields:
                raise ValueError(f"unknown parameter {name!r}{meant(name, cls)}")
        given, known = cls.stated(given), cls.stated(known)
        without = cls.recipe(known | given) | known
        try:
            params = cls(**(without | given))
        except ValidationError as error:
            raise ValueError("; ".join(_sentence(cls, problem) for problem in error.errors())) from None
        replaced = {name: without.get(name, cls.model_fields[name].default) for name in given}
        changed = [name for name, value in replaced.items() if getattr(params, name) != value]
        idle, facts = {}, params.facts()
        for need in cls.effects:
            if not need.holds(facts):
                for name in set(changed) & set(need.names.split()):
                    idle.setdefault(name, need.refusal(name, params))
        return params, idle

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> "Vocabulary":
        """Return the checked parameters of a notebook; `namespace` is its globals()."""
        return cls.check(cls.given_in(namespace))

    @classmethod
    def given_in(cls, namespace: Mapping[str, Any]) -> dict[str, Any]:
        """Return the given parameters, unchecked: injected by papermill, or changed from the default in their cell.

        A parameters cell repeats the vocabulary's defaults, so a value equal to its default does not count as given.
        Raises ValueError if a kernel has not run the parameters cell, or if a later cell has reused a parameter's name
        and the original value is not a literal.
        """
        fields, texts = cls.model_fields, namespace.get("In", [])
        cells = [names_in(python_of(text)) for text in texts]
        executions = _parameter_cells(texts, cells, fields)
        latest = sorted(places[-1] for places in executions if places)
        if not latest and any(texts):
            raise ValueError("the parameters cell has not run in this kernel: run it first (the first code cell)")
        injected = {name for place in latest if _injected(texts[place]) for name in cells[place].bound}
        found = {}
        for name in {name for place in latest for name in cells[place].parameters(fields)} & set(namespace):
            found[name] = namespace[name]
            setters = [place for place, cell in enumerate(cells) if name in cell.bound]
            if setters[-1] not in latest:
                try:
                    found[name] = _literal(texts[[place for place in setters if place in latest][-1]], name)
                except ValueError:
                    raise ValueError(
                        f"{name} of the parameters cell was set again in another cell, which now reads "
                        f"{namespace[name]!r:.60}: run the parameters cell again, or give that variable another name"
                    ) from None
        read = frozenset().union(*(cell.used for cell in cells))  # the reader's own variables
        ours = frozenset().union(*(cells[place].bound for place in latest))
        others = ((place, cell) for place, cell in enumerate(cells) if place not in sum(executions, []))
        plain = ((place, cell) for place, cell in others if cell.bound <= fields.keys() and not cell.used)
        if idle := sorted(
            {n for place, cell in plain for n in cell.bound - read if place > latest[-1] or n not in ours}
        ):
            where = "a cell of your own, which sets no parameters: set them in the first code cell and run that again"
            warnings.warn(f"{', '.join(idle)} without effect, given in {where}", stacklevel=2)
        kept = cls.stated(found).items()
        return {n: value for n, value in kept if n in injected or n not in fields or value != fields[n].default}

    def facts(self) -> Any:
        """Return what the conditions of `effects` are asked of."""
        return self

    def changed(self) -> dict[str, Any]:
        """Return the parameters that differ from the vocabulary's defaults."""
        return {name: value for name, value in self if value != type(self).model_fields[name].default}

    def _repr_html_(self) -> str:
        changed = self.changed()
        cell = '<span style="display:inline-block;margin:1px 12px 1px 0" title="{}"><code>{}</code> = {}</span>'
        fields = type(self).model_fields.items()
        cells = {n: Markup(cell).format(field.description, n, repr(getattr(self, n))) for n, field in fields}
        rest = [cell for name, cell in cells.items() if name not in changed]
        shown = Markup().join(cells[name] for name in changed) or "all parameters have their general defaults"
        whole = '<div class="mathjax_ignore">{}<details><summary>{} more at their default</summary>{}</details></div>'
        return Markup(whole).format(shown, len(rest), Markup().join(rest))


class Names(NamedTuple):
    """Top-level names of Python code; all empty if it cannot be parsed."""

    bound: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()  # bound with a type annotation
    defined: frozenset[str] = frozenset()  # bound by an import or a definition
    used: frozenset[str] = frozenset()  # read, at top level or in a function

    def parameters(self, known: Collection[str]) -> set[str]:
        """Return the names that are meant as parameters: those of the vocabulary, and possibly misspelt ones.

        Names that the cell itself reads, imports or defines, or that start with _, are helpers of the reader.
        """
        helpers = self.used | self.defined
        return {name for name in self.bound if name in known or not (name in helpers or name.startswith("_"))}


def names_in(code: str) -> Names:
    """Return the top-level names of Python code, without those local to functions, classes and comprehensions."""
    try:
        tree, table = ast.parse(code), symtable.symtable(code, "cell", "exec")
    except SyntaxError:
        return Names()
    bound = [each for each in table.get_symbols() if each.is_assigned() or each.is_imported()]
    return Names(
        frozenset(each.get_name() for each in bound),
        frozenset(each.get_name() for each in bound if each.is_annotated()),
        frozenset(each.get_name() for each in bound if each.is_imported() or each.is_namespace()),
        frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)),
    )


def python_of(cell: str) -> str:
    """Convert a cell with magics to Python; of a cell with a magic in `TIMED`, return the code that it executes."""
    from IPython.core.inputtransformer2 import TransformerManager

    code = TransformerManager().transform_cell(cell)
    return python_of(ast.parse(code).body[0].value.args[-1].value) if code.startswith(TIMED) else code


def other_cells(texts: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the texts of the executed cells that set no parameters, without duplicates."""
    places = sum(_parameter_cells(texts, [names_in(python_of(text)) for text in texts], known), [])
    return list(dict.fromkeys(text for place, text in enumerate(texts) if place not in places))


def _literal(text: str, name: str) -> Any:
    """Return the literal that a cell assigns to a name; raise ValueError for any other assignment."""
    *_, last = (node for node in ast.parse(python_of(text)).body if name in names_in(ast.unparse(node)).bound)
    targets = last.targets if isinstance(last, ast.Assign) else [getattr(last, "target", None)]
    plain = isinstance(last, ast.Assign | ast.AnnAssign) and all(isinstance(each, ast.Name) for each in targets)
    return ast.literal_eval(last.value if plain else last)


def _injected(text: str) -> bool:
    return text.lstrip().startswith(INJECTED)


def _parameter_cells(
    texts: Sequence[str], cells: Sequence[Names], known: Collection[str]
) -> tuple[list[int], list[int]]:
    """Return the indices of all executions of the parameters cell, and of papermill's injected cells."""
    injected = [place for place, text in enumerate(texts) if _injected(text)]
    own = {place: (cell.bound - cell.defined) & set(known) for place, cell in enumerate(cells) if place not in injected}
    most = max(own, key=lambda place: (bool(cells[place].typed & set(known)), len(own[place])), default=None)
    if most is None or not own[most]:
        return [], injected
    return [place for place, names in own.items() if names and 2 * len(names & own[most]) >= len(own[most])], injected


def allowed(name: str, model: type[BaseModel]) -> str:
    """Describe the allowed values of a parameter."""
    field = model.model_fields[name]
    if typing.get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(str(value) for value in typing.get_args(field.annotation))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = [
        f"{signs[short]} {getattr(each, short)}" for each in field.metadata for short in signs if hasattr(each, short)
    ]
    kind = {int: "a whole number", float: "a number", bool: "true or false"}.get(field.annotation, "text")
    return " ".join([kind, " and ".join(limits)]).strip()


def meant(word: str, model: type[BaseModel], others: Iterable[str] = ()) -> str:
    """Return a hint for an unknown name: the nearest name, or parameters whose description contains its words."""
    known, words = [*others, *model.model_fields], {part for part in word.lower().split("_") if len(part) > 3}
    texts = {n: re.split(r"[\s,;]+", (field.description or "").lower()) for n, field in model.model_fields.items()}
    described = [name for name, text in texts.items() if words and words.issubset(text)]
    if described and not difflib.get_close_matches(word, known, n=1):
        return f"; did you mean {' or '.join(map(repr, sorted(described, key=len)[:3]))}?"
    return nearest(word, known)


def _sentence(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    if not problem["loc"] or problem["type"] == "value_error":  # a message of this project
        return problem["msg"].removeprefix("Value error, ")
    name, value = problem["loc"][0], problem["input"]
    choices = [str(choice) for choice in typing.get_args(model.model_fields[name].annotation)]
    wanted = "cuda" if value == "gpu" else value
    close = difflib.get_close_matches(wanted, choices, n=1) if isinstance(value, str) else []
    return f"{name} must be {allowed(name, model)}; got {value!r}" + (f"; did you mean {close[0]!r}?" if close else "")
