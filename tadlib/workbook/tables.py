"""Tables that sort when a heading is pressed: in the notebook and in the page made of it, without a network."""

import html
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Numbers by their size, all else by its letters; pressed again, the other way round.
SORT = """<script>
(function (table) {
  table.querySelectorAll("th button").forEach(function (button, column) {
    button.addEventListener("click", function () {
      var head = button.parentNode, up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var key = function (row) { var by = row.cells[column].dataset.by; return by === "" ? NaN : +by; };
      var text = function (row) { return row.cells[column].textContent.trim(); };
      var numbers = Array.from(table.tBodies[0].rows).some(function (row) { return !isNaN(key(row)); });
      Array.from(table.tBodies[0].rows).sort(function (a, b) {
        if (!numbers) { return (up ? 1 : -1) * text(a).localeCompare(text(b)); }
        if (isNaN(key(a)) || isNaN(key(b))) { return isNaN(key(a)) - isNaN(key(b)); }
        return (up ? 1 : -1) * (key(a) - key(b));
      }).forEach(function (row) { table.tBodies[0].appendChild(row); });
    });
  });
})(document.getElementById("NAME"));
</script>"""
STYLE = """<style>
#NAME { border-collapse: collapse; font-size: 13px; }
#NAME th, #NAME td { text-align: left; vertical-align: top; padding: 3px 10px; max-width: 26em; white-space: normal; }
#NAME td.short { white-space: nowrap; }
#NAME td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
#NAME th button { all: unset; cursor: pointer; font-weight: bold; }
#NAME th button:focus-visible { outline: 2px solid #0072B2; }
#NAME th button::after { content: " \\2195"; opacity: .45; }
#NAME th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
#NAME th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
</style>"""


SHORT = 17  # letters that stay on one line


@dataclass(frozen=True)
class Number:
    """A number as it is shown, and what it is sorted by."""

    shown: str
    by: float


@dataclass(frozen=True)
class Links:
    """Words that lead somewhere: word -> relative address."""

    to: Mapping[str, str]


@dataclass(frozen=True)
class Sortable:
    """Rows of text, `Number` and `Links` under the names of the first row."""

    rows: Sequence[Mapping[str, object]]
    empty: str = "nothing to show"

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{html.escape(self.empty)}</p>"
        name = f"table-{secrets.token_hex(4)}"
        head = "".join(f"<th><button>{html.escape(str(word))}</button></th>" for word in self.rows[0])
        body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>" for row in self.rows)
        table = f'<table id="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        return (STYLE + table + SORT).replace("NAME", name)

    def __repr__(self) -> str:
        return self.empty if not self.rows else "\n".join("  ".join(map(_plain, row.values())) for row in self.rows)


def _plain(value: object) -> str:
    return value.shown if isinstance(value, Number) else " ".join(value.to) if isinstance(value, Links) else str(value)


def _cell(value: object) -> str:
    if isinstance(value, Number):
        by = "" if value.by != value.by else repr(float(value.by))  # NaN goes last
        return f'<td class="number" data-by="{by}">{html.escape(value.shown)}</td>'
    if isinstance(value, Links):
        links = (f'<a href="{html.escape(to)}">{html.escape(word)}</a>' for word, to in value.to.items())
        return f'<td data-by="">{" ".join(links)}</td>'
    text = str(value)
    kind = ' class="short"' if len(text) < SHORT else ""
    return f'<td data-by=""{kind}>{html.escape(text)}</td>'
