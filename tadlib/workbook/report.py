"""`jupyter nbconvert --to report`: an executed notebook as a page without code that opens without a network."""

from pathlib import Path

from nbconvert.exporters import HTMLExporter
from traitlets import default
from traitlets.config import Config

from tadlib.files import atomic
from tadlib.workbook import execution


class ReportExporter(HTMLExporter):
    """HTML with text, figures and tables, a banner with what happened and the parameters, and no code."""

    export_from_notebook = "Report (no code)"

    @default("template_name")
    def _template_name_default(self):
        return "tad"

    @property
    def extra_template_basedirs(self):
        """Where our template lies."""
        return [str(Path(__file__).parent / "templates")]

    @property
    def default_config(self):
        """No code, no prompts, no parameter cells; figures embedded."""
        config = Config(
            {
                "TemplateExporter": {
                    "exclude_input": True,
                    "exclude_input_prompt": True,
                    "exclude_output_prompt": True,
                },
                "HTMLExporter": {"embed_images": True},
                "TagRemovePreprocessor": {
                    "enabled": True,
                    "remove_cell_tags": {"parameters", "injected-parameters", "no-report"},
                },
                "CoalesceStreamsPreprocessor": {"enabled": True},
            }
        )
        merged = Config(super().default_config)
        merged.merge(config)
        return merged

    def from_notebook_node(self, nb, resources=None, **kwargs):
        """The page of a notebook, with what happened to it."""
        told = {"status": execution.status(nb), "parameters": execution.parameters_of(nb)}
        return super().from_notebook_node(nb, {**(resources or {}), **told}, **kwargs)


def page(notebook: Path) -> Path:
    """Write the page of an executed notebook beside it, whole or not at all; returns its path."""
    text, _ = ReportExporter().from_filename(str(notebook))
    path = notebook.with_suffix(".html")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
