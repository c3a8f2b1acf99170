"""The main job's command line, in every way a shell, a scheduler or a program may call it."""

import base64
import os
import pty
import signal
import subprocess
import time

import nbformat
import papermill.cli
import pytest
import stubs
import yaml

from tadlib.workbook import execution, papermill_arguments

SHOW = "(split, ema, lr)"


def shown(path) -> str:
    """What the first code cell after the parameters showed."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return cells[-1].outputs[0].data["text/plain"]


def test_the_options_are_papermills_own():
    taken = {
        name: option.nargs * (not option.is_flag)
        for option in papermill.cli.papermill.params
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("-")
    }
    known = {name: each.nargs for each in papermill_arguments.OPTIONS for name in each.opts}
    assert known == {name: count for name, count in taken.items() if count}


def test_without_an_output_path_the_run_gets_its_own_and_says_where(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    before = stubs.digest(source)
    done = stubs.papermill("notebooks/train.ipynb", "-p", "split", "50", cwd=tmp_path)
    (made,) = stubs.outputs(source)
    assert done.returncode == 0 and f"writing {made}" in done.stderr and done.stdout == ""
    assert shown(made) == "(50, False, None)" and stubs.digest(source) == before
    assert made.parent.name.endswith(made.parent.name[-4:]) and "train_split-50" in made.parent.name


def test_an_empty_pipe_as_input_changes_nothing(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    done = stubs.papermill("notebooks/train.ipynb", cwd=tmp_path, stdin=None, input="")
    assert done.returncode == 0 and shown(*stubs.outputs(source)) == "(75, False, None)"


def test_a_silent_pipe_as_input_is_not_waited_for(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    words = stubs.command("notebooks/train.ipynb")
    job = subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=stubs.environment())
    assert job.wait(timeout=120) == 0
    job.stdin.close()
    job.stderr.close()
    assert shown(*stubs.outputs(source)) == "(75, False, None)"


def test_a_notebook_on_a_pipe_does_not_replace_the_source(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    before = stubs.digest(source)
    other = nbformat.writes(stubs.notebook("'another notebook'"))
    done = stubs.papermill("notebooks/train.ipynb", cwd=tmp_path, stdin=None, input=other)
    assert done.returncode == 0 and stubs.digest(source) == before
    assert shown(*stubs.outputs(source)) == "(75, False, None)"


def test_on_a_terminal_it_runs_too(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    ours, theirs = pty.openpty()
    job = subprocess.Popen(
        stubs.command("notebooks/train.ipynb", "--no-progress-bar"),
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env=stubs.environment(),
    )  # fmt: skip
    os.close(theirs)
    heard = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is gone
            break
        if not part:
            break
        heard += part
    os.close(ours)
    assert job.wait(timeout=120) == 0 and b"writing " in heard
    assert shown(*stubs.outputs(source)) == "(75, False, None)"


def test_two_runs_in_the_same_second_do_not_meet(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    words = stubs.command("notebooks/train.ipynb", "--no-progress-bar")
    jobs = [
        subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    assert len(stubs.outputs(source)) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (("-p", "spilt", "50"), "unknown parameter 'spilt'; did you mean 'split'?"),
        (("-p", "split", "60"), "split must be one of 75, 50, 0; got 60"),
        (("-p", "device", "cdua"), "device must be one of auto, cpu, cuda, mps; got 'cdua'; did you mean 'cuda'?"),
        (("-y", "{epochs: many}"), "epochs must be a whole number >= 1; got 'many'"),
    ],
)
@pytest.mark.parametrize("output", [(), ("out.ipynb",)], ids=["no output path", "output path"])
def test_a_wrong_parameter_stops_in_one_sentence_before_anything_runs(words, message, output, tmp_path):
    source = stubs.project(tmp_path, SHOW)
    done = stubs.papermill("notebooks/train.ipynb", *output, *words, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.strip() == f"papermill: {message}"
    assert not stubs.outputs(source) and not (tmp_path / "out.ipynb").exists()


def test_words_that_mean_true_and_numbers_that_yaml_takes_for_text_are_understood(tmp_path):
    source = stubs.project(tmp_path, "from tadlib.workbook.params import Params", "Params.from_notebook(globals()).ema")
    (tmp_path / "one.yaml").write_text("lr: 1e-4\n")
    done = stubs.papermill("notebooks/train.ipynb", "-p", "ema", "true", "-f", "one.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown(*stubs.outputs(source)) == "True"


BLOCKS = "split: 50\nlr: 0.5\nsweep: {seed: [0, 1]}\nzip: {ema: [true]}\nruns: [{queries: 9}]\nseeds: 3\n"


@pytest.mark.parametrize("output", [(), ("out.ipynb",)], ids=["no output path", "output path"])
def test_of_a_plan_one_run_of_what_all_have_in_common_is_made_and_that_is_said(output, tmp_path):
    source = stubs.project(
        tmp_path, "from tadlib.workbook.params import Params", "Params.from_notebook(globals())", SHOW
    )
    (tmp_path / "plan.yaml").write_text(BLOCKS)
    done = stubs.papermill("notebooks/train.ipynb", *output, "-p", "ema", "True", "-f", "plan.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "left out" in line]
    assert said == (
        "left out: sweep, zip, runs, seeds; this is one run of what all have in common "
        "(`tad run plan.yaml` makes every run)"
    )
    (made,) = [tmp_path / "out.ipynb"] if output else stubs.outputs(source)
    assert shown(made) == "(50, True, 0.5)"
    injected = nbformat.read(made, as_version=4).metadata.papermill.parameters
    assert set(injected) - {"run_dir"} == {"split", "lr", "ema"}


def test_layers_of_yaml_keep_their_order_without_their_blocks(tmp_path):
    (tmp_path / "a.yaml").write_text("{split: 50, seed: 1, lr: 0.1, seeds: 2}")
    (tmp_path / "b.yaml").write_text("{seed: 2, lr: 0.2}")
    files = ["-f", str(tmp_path / "a.yaml"), f"--parameters_file={tmp_path / 'b.yaml'}"]
    words = ["n.ipynb", "-y", "{lr: 0.3}", *files, "out.ipynb", "-p", "split", "75", "--no-progress-bar"]
    left = papermill_arguments.without_blocks(words, lambda text: None)
    assert left[:2] == ["n.ipynb", "out.ipynb"] and "--no-progress-bar" in left
    before, after = (papermill_arguments.given_parameters(each) for each in (words, left))
    assert before == after | {"seeds": 2} and after == {"split": 75, "seed": 2, "lr": 0.3}
    plain = ["n.ipynb", "-f", str(tmp_path / "b.yaml"), "-p", "split", "75"]
    assert papermill_arguments.without_blocks(plain, pytest.fail) == plain, "without a block nothing is touched"


def test_an_explicit_output_path_is_taken_as_it_is(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    done = stubs.papermill("notebooks/train.ipynb", "out.ipynb", "-p", "split", "50", cwd=tmp_path)
    assert done.returncode == 0 and shown(tmp_path / "out.ipynb") == "(50, False, None)"
    assert not stubs.outputs(source)


def test_from_another_working_directory_outputs_stay_in_the_project(tmp_path):
    source = stubs.project(tmp_path / "project", SHOW)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = stubs.papermill(str(source), cwd=elsewhere)
    assert done.returncode == 0 and len(stubs.outputs(source)) == 1 and not list(elsewhere.iterdir())


def test_the_source_is_never_the_output(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    before = stubs.digest(source)
    done = stubs.papermill("notebooks/train.ipynb", "notebooks/train.ipynb", cwd=tmp_path)
    assert done.returncode == 2 and "is the source notebook itself" in done.stderr and stubs.digest(source) == before


def test_an_executed_notebook_is_never_overwritten(tmp_path):
    stubs.project(tmp_path, SHOW)
    assert stubs.papermill("notebooks/train.ipynb", "out.ipynb", cwd=tmp_path).returncode == 0
    before = stubs.digest(tmp_path / "out.ipynb")
    done = stubs.papermill("notebooks/train.ipynb", "out.ipynb", cwd=tmp_path)
    assert done.returncode == 2 and "never overwritten" in done.stderr
    assert stubs.digest(tmp_path / "out.ipynb") == before


KILLED_ONCE = """
import os, pathlib, signal, time
if not pathlib.Path("again").exists():
    pathlib.Path("again").touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
"""


@pytest.mark.parametrize("output", [(), ("run/train.ipynb",)], ids=["none", "explicit"])
def test_after_kill_9_the_same_command_goes_on_and_keeps_what_was_left(output, tmp_path):
    stubs.project(tmp_path, KILLED_ONCE)
    (tmp_path / "run").mkdir()
    words = "notebooks/train.ipynb", *output, "-p", "run_dir", str(tmp_path / "run")
    assert stubs.papermill(*words, cwd=tmp_path).returncode == -signal.SIGKILL
    before = stubs.digest(tmp_path / "run" / "train.ipynb")
    done = stubs.papermill(*words, cwd=tmp_path)
    assert done.returncode == 0 and "train.ipynb did not finish, it is now train.unfinished.ipynb" in done.stderr
    assert execution.finished(tmp_path / "run" / "train.ipynb")
    assert stubs.digest(tmp_path / "run" / "train.unfinished.ipynb") == before
    assert "never overwritten" in stubs.papermill(*words, cwd=tmp_path).stderr, "a finished one stays"


def test_a_notebook_at_work_and_one_of_another_stage_are_no_outputs(tmp_path):
    stubs.project(tmp_path, "import time; open('started', 'w').close(); time.sleep(60)")
    words = stubs.command("notebooks/train.ipynb", "out.ipynb")
    with subprocess.Popen(words, cwd=tmp_path, env=stubs.environment(), stderr=subprocess.DEVNULL) as job:
        try:
            until = time.monotonic() + 60
            while not (tmp_path / "started").exists() and time.monotonic() < until:
                time.sleep(0.1)
            done = stubs.papermill("notebooks/train.ipynb", "out.ipynb", cwd=tmp_path)
            assert done.returncode == 2 and "is being written by another papermill" in done.stderr
        finally:
            job.kill()
    other = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    other.metadata["tadlib"]["stage"] = "classify"
    nbformat.write(other, tmp_path / "out.ipynb")
    done = stubs.papermill("notebooks/train.ipynb", "out.ipynb", cwd=tmp_path)
    assert done.returncode == 2 and "never overwritten" in done.stderr


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path):
    stubs.project(tmp_path, SHOW)
    (tmp_path / "outputs" / "adhoc").write_text("a file where a folder should be")
    done = stubs.papermill("notebooks/train.ipynb", cwd=tmp_path)
    assert done.returncode == 2 and "cannot write into" in done.stderr and "Traceback" not in done.stderr


def test_an_unreadable_parameter_file_is_named(tmp_path):
    stubs.project(tmp_path, SHOW)
    (tmp_path / "bad.yaml").write_text("split: [50\n")
    done = stubs.papermill("notebooks/train.ipynb", "-f", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2 and "bad.yaml" in done.stderr and "Traceback" not in done.stderr
    missing = stubs.papermill("notebooks/train.ipynb", "-f", "none.yaml", cwd=tmp_path)
    assert missing.returncode == 2 and "none.yaml" in missing.stderr and "Traceback" not in missing.stderr


def test_other_notebooks_keep_papermills_own_ways(tmp_path):
    source = stubs.project(tmp_path, SHOW, ours=False)
    done = stubs.papermill("notebooks/train.ipynb", "out.ipynb", "-p", "anything", "1", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "out.ipynb").is_file() and not stubs.outputs(source)


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("--help-notebook", "notebooks/train.ipynb")])
def test_questions_are_answered_and_nothing_is_run(words, tmp_path):
    source = stubs.project(tmp_path, SHOW)
    assert stubs.papermill(*words, cwd=tmp_path).returncode == 0 and not stubs.outputs(source)


def test_what_is_given_is_layered_as_papermill_layers_it(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"split": 50, "seed": 1}))
    words = ["n.ipynb", "-p", "seed", "3", "-f", str(tmp_path / "a.yaml"), "-y", "{seed: 2}"]
    assert papermill_arguments.given_parameters(words) == {"split": 50, "seed": 3}


def test_parameters_in_base64_and_values_right_behind_their_letter_count(tmp_path):
    source = stubs.project(tmp_path, SHOW)
    (tmp_path / "a.yaml").write_text("split: 50\nlr: 0.5\n")
    wanted = tmp_path / "wanted"
    hidden = base64.b64encode(f"run_dir: {wanted}\nsplit: 0\nema: true\n".encode()).decode()
    done = stubs.papermill("notebooks/train.ipynb", "-b", hidden, "-fa.yaml", "-plr", "0.25", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown(wanted / "train.ipynb") == "(50, True, 0.25)" and not stubs.outputs(source)


@pytest.mark.parametrize("word, value", [("50", 50), ("1e-4", 1e-4), ("True", True), ("true", "true"), ("a", "a")])
def test_words_are_typed_as_papermill_types_them(word, value):
    assert papermill_arguments.typed(word) == value


def test_names_of_runs_sort_by_time():
    from tadlib.workbook.runs import new_name

    first = new_name("a")
    time.sleep(1.1)
    assert first < new_name("a") and new_name("b") != new_name("b")
