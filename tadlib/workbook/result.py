"""Result of a stage, the last output of its notebook: a table for readers, and JSON for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

MEMORY = {"peak_memory_mb": "memory", "peak_gpu_memory_mb": "GPU memory"}
RESULT = "application/vnd.tad.result+json"


@dataclass(frozen=True)
class Result:
    """Result of a finished stage."""

    stage: str
    dir: Path
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    found: str = ""  # a short addition to the headline

    @property
    def headline(self) -> str:
        """One line for a terminal: metric, classes, protocol and run folder."""
        given, folder = self.record["parameters"], self.dir
        classes = ("seen" if given.get("evaluate_on") == "training" else "unseen") if given.get("split") else "all"
        parts = [f"{self.stage} finished", *([self.found] if self.found else [])]
        if "mAP" in self.metrics:
            parts[0] += f": mAP of {classes} classes {100 * self.metrics['mAP']:.1f} % (protocol {given['protocol']})"
        if edited := self.record.get("edited"):
            parts.append(f"edited notebook {edited['digest']}")
        shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        return f"{', '.join(parts)}; run folder {shown}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        numbers = {name: value for name, value in self.metrics.items() if isinstance(value, int | float)}
        shown = {"run": self.dir.name}
        shown |= {name: f"{100 * numbers[name]:.1f} %" for name in ("mAP", "mAP@0.5", "AR@100") if name in numbers}
        shown["wall time"] = f"{self.record['seconds']:.0f} s"
        if spent := self.record.get("encoding_seconds"):
            shown["encoding, summed over videos"] = f"{spent:.0f} s"
        shown |= {f"peak {name}": f"{self.record[key]:.0f} MB" for key, name in MEMORY.items() if key in self.record}
        shown |= {name: self.record[name] for name in ("device", "commit", "data")}
        shown["seed"] = self.record["parameters"]["seed"]
        if edited := self.record.get("edited"):
            shown["edited notebook"] = edited["digest"]
        row = Markup("<tr><th style='text-align:left'>{}</th><td>{}</td></tr>")
        rows = Markup().join(row.format(*each) for each in shown.items())
        return {
            "text/plain": f"{self.stage} finished: " + ", ".join(f"{name} {value}" for name, value in shown.items()),
            "text/html": Markup("<b>{} finished</b><table class=mathjax_ignore>{}</table>").format(self.stage, rows),
            RESULT: {"stage": self.stage, "run": self.dir.name, "metrics": numbers, "headline": self.headline},
        }
