"""The main job's command line, in every way a shell, a scheduler or a program may call it."""

import base64
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill.cli
import pytest
import stubs

from tadlib.workbook import papermill_arguments
from tadlib.workbook.params import Params

SHOW = "(split, ema, lr)"
TRAIN = "notebooks/train.ipynb"


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """The notebook of a stub project, which is the working directory."""
    monkeypatch.delenv("TAD_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return stubs.project(tmp_path, SHOW)


@pytest.fixture
def call(source, monkeypatch):
    """A call of papermill's command line that starts no kernel: what it would execute, and what is said."""

    def call(*words) -> SimpleNamespace:
        calls, said = [], []
        monkeypatch.setattr(papermill.cli, "execute_notebook", lambda **given: calls.append(given))
        papermill.cli.papermill.main(papermill_arguments.complete(words, said.append), standalone_mode=False)
        (given,) = calls
        return SimpleNamespace(path=Path(given["output_path"]), parameters=given["parameters"], said=said)

    return call


def test_the_options_are_papermills_own():
    taken = {
        name: option.nargs * (not option.is_flag)
        for option in papermill.cli.papermill.params
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("-")
    }
    known = {name: each.nargs for each in papermill_arguments.OPTIONS for name in each.opts}
    assert known == {name: count for name, count in taken.items() if count}


def test_without_an_output_path_a_run_gets_its_own_folder_in_the_project(call, source, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    for place in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(place)
        made = call(str(source), "-p", "split", "50")
        folder = made.path.resolve().parent
        assert folder.parent == tmp_path / "outputs" / "adhoc" and "train_split-50" in folder.name
        assert made.said == [f"writing {folder / 'train.ipynb'}"]
        assert made.parameters["split"] == 50 and (source.parents[1] / made.parameters["run_dir"]) == folder
    assert len(list((tmp_path / "outputs" / "adhoc").iterdir())) == 2 and not list((tmp_path / "elsewhere").iterdir())


def test_an_explicit_output_path_is_taken_as_it_is(call, tmp_path):
    made = call(TRAIN, "out.ipynb", "-p", "split", "50")
    assert (made.path, made.parameters, made.said) == (Path("out.ipynb"), {"split": 50}, [])
    assert not (tmp_path / "outputs" / "adhoc").exists()


def test_parameters_come_from_everywhere_in_papermills_order(call, tmp_path):
    (tmp_path / "a.yaml").write_text("split: 50\nlr: 1e-4\n")
    wanted = tmp_path / "wanted"
    hidden = base64.b64encode(f"run_dir: {wanted}\nsplit: 0\nema: 'true'\n".encode()).decode()
    made = call(TRAIN, "-pseed", "3", "-b", hidden, "-fa.yaml", "-y", "{seed: 2, epochs: 3}")
    assert made.path.resolve() == wanted / "train.ipynb"
    params = Params.check(made.parameters)
    assert (params.split, params.seed, params.epochs, params.ema, params.lr) == (50, 3, 3, True, 1e-4)


def test_a_folder_keeps_a_name_that_papermill_takes_for_a_number(call):
    made = call(TRAIN, "-p", "run_dir", "2026_11_30", "-p", "seed", "07", "-p", "ideas", "None")
    assert made.path == Path("2026_11_30/train.ipynb")
    assert made.parameters == {"run_dir": "2026_11_30", "seed": 7, "ideas": None}


BLOCKS = "split: 50\nlr: 0.5\nsweep: {seed: [0, 1]}\nzip: {ema: [true]}\nruns: [{queries: 9}]\n"


def test_a_plan_of_several_runs_is_no_file_for_papermill(call, tmp_path):
    (tmp_path / "plan.yaml").write_text(BLOCKS)
    with pytest.raises(ValueError, match="sweep, zip, runs: such a file plans several runs, start them by `tad run"):
        call(TRAIN, "-p", "ema", "True", "-f", "plan.yaml")


@pytest.mark.parametrize(
    "words, message",
    [
        (("-p", "spilt", "50"), "unknown parameter 'spilt'; did you mean 'split'?"),
        (("-p", "split", "60"), "split must be one of 75, 50, 0; got 60"),
        (("-p", "device", "cdua"), "device must be one of auto, cpu, cuda, mps; got 'cdua'; did you mean 'cuda'?"),
        (("-y", "{epochs: many}"), "epochs must be a whole number >= 1 and <= 1000000; got 'many'"),
        (("-f", "bad.yaml"), "bad.yaml is not readable YAML"),
        (("-f", "none.yaml"), "none.yaml"),
    ],
)
@pytest.mark.parametrize("output", [(), ("out.ipynb",)], ids=["no output path", "output path"])
def test_a_wrong_parameter_is_one_sentence_before_anything_runs(words, message, output, call, source, tmp_path):
    (tmp_path / "bad.yaml").write_text("split: [50\n")
    with pytest.raises((ValueError, OSError)) as error:
        call(TRAIN, *output, *words)
    assert message in str(error.value)
    assert not stubs.outputs(source) and not (tmp_path / "out.ipynb").exists()


def executed(path: Path, stage: str = "train", ran: int = 2) -> Path:
    """A notebook of a stage as papermill leaves it when so many of its two code cells have run."""
    notebook = stubs.notebook(SHOW)
    notebook.metadata["tadlib"]["stage"] = stage
    notebook.metadata["papermill"] = {"parameters": {}}
    for number, cell in enumerate(notebook.cells[1 : 1 + ran], start=1):
        cell.execution_count = number
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    return path


def test_no_source_finished_notebook_or_notebook_of_another_stage_is_overwritten(call, source, tmp_path):
    finished, other = executed(tmp_path / "out.ipynb"), executed(tmp_path / "other.ipynb", "classify", ran=1)
    run_dir = executed(tmp_path / "run" / "train.ipynb").parent
    for words, message in (
        ([TRAIN], "is the source notebook itself"),
        ([finished.name], "never overwritten"),
        ([other.name], "never overwritten"),
        (["-p", "run_dir", str(run_dir)], "never overwritten"),
    ):
        with pytest.raises(ValueError, match=message):
            call(TRAIN, *words)


@pytest.mark.parametrize("output", [(), ("run/train.ipynb",)], ids=["none", "explicit"])
def test_what_did_not_finish_is_set_aside_and_the_same_command_goes_on(output, call, tmp_path):
    left = executed(tmp_path / "run" / "train.ipynb", ran=1)
    before = stubs.digest(left)
    made = call(TRAIN, *output, "-p", "run_dir", str(tmp_path / "run"))
    assert made.path.resolve() == left and not left.exists()
    assert "train.ipynb did not finish, it is now train.unfinished.ipynb" in made.said
    assert stubs.digest(tmp_path / "run" / "train.unfinished.ipynb") == before


def test_an_output_folder_that_cannot_be_written_is_named(call, tmp_path):
    (tmp_path / "outputs" / "adhoc").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="outputs/adhoc"):
        call(TRAIN)


def test_other_notebooks_and_questions_keep_papermills_own_ways(source, tmp_path):
    nbformat.write(stubs.notebook(SHOW, ours=False), tmp_path / "foreign.ipynb")
    asked = [["--help"], ["--version"], ["--help-notebook", TRAIN], ["foreign.ipynb", "-p", "anything", "1"]]
    for words in asked:
        assert papermill_arguments.complete(words, pytest.fail) == words


@pytest.mark.notebooks
def test_the_command_runs_with_a_notebook_on_its_input_and_leaves_the_source_alone(source, tmp_path):
    before = stubs.digest(source)
    words = [TRAIN, "outputs/o_{split}.ipynb", "-p", "split", "50", "-p", "jitter", "True"]  # the last in no cell
    other = nbformat.writes(stubs.notebook("'another notebook'"))
    done = stubs.papermill(*words, "--no-progress-bar", cwd=tmp_path, stdin=None, input=other)
    (made,) = stubs.outputs(source)
    assert done.returncode == 0 and done.stdout == "" and "unknown" not in done.stderr
    assert made.name == "o_50.ipynb", "papermill fills in braces"
    *_, last = [cell for cell in nbformat.read(made, as_version=4).cells if cell.cell_type == "code"]
    assert last.outputs[0].data["text/plain"] == "(50, False, None)" and stubs.digest(source) == before


@pytest.mark.notebooks
def test_a_mistake_ends_the_process_with_one_sentence(source, tmp_path):
    done = stubs.papermill(TRAIN, "-p", "spilt", "50", cwd=tmp_path)
    assert done.returncode == 2 and not stubs.outputs(source)
    assert done.stderr.strip() == "papermill: unknown parameter 'spilt'; did you mean 'split'?"
