"""The command that executes a stage of a run again."""

import shlex
from pathlib import Path

from tadlib.files import read_json


def command(stage: str, folder: Path) -> str:
    """The command that executes a stage in a run's folder.

    Where it has finished there, it is executed in a new folder, on the same checkpoint and with its own parameters.
    """
    records = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    words = ["papermill", f"notebooks/{stage}.ipynb", "-p", "run_dir"]
    if records.get(stage, {}).get("status") != "finished":
        return shlex.join([*words, str(folder)])
    anew, own = f"{folder}_{stage}", records[stage]["parameters"]
    trained = records.get("train", records[stage])["parameters"]
    given = {name: value for name, value in own.items() if name != "run_dir" and value != trained.get(name, value)}
    copy = f"{shlex.join(['mkdir', anew])} && {shlex.join(['cp', str(folder / 'checkpoint.pt'), anew])}"
    more = [word for name, value in given.items() for word in ("-p", name, str(value))]
    return f"{copy} && {shlex.join([*words, anew, *more])}"
