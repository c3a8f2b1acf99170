"""`tad doctor` says what is there, what is missing and what to do next."""

import pytest

from tadlib.workbook import cli, doctor


def found(findings, what):
    """The finding about one thing."""
    return next(finding for finding in findings if finding.what == what)


def test_this_machine_can_work(capsys):
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "torch" in said and "device" in said and "cpu" in said and said.splitlines()[-1].startswith("next: ")
    assert "->" not in said.splitlines()[-1]


def test_a_missing_package_is_serious_and_says_what_to_run(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    assert doctor.main() == 1
    said = capsys.readouterr().out
    assert "! no-such-package" in said and said.splitlines()[-1].startswith("next: pip install")


def test_data_is_counted_and_what_it_lacks_is_named(home):
    folder = home / "data" / "thumos14"
    (folder / "features").mkdir(parents=True)
    finding = found(doctor.examine(), "thumos14")
    assert "no annotations" in finding.found and "annotations.json" in finding.advice
    (folder / "annotations.json").write_text('{"database": {}}', encoding="utf-8")
    assert "put videos or features" in found(doctor.examine(), "thumos14").advice
    (folder / "features" / "a.npy").touch()
    assert found(doctor.examine(), "thumos14").advice == ""
    assert found(doctor.examine(), "demo").found == "made on first use"


def test_runs_with_weights_are_counted_and_shared_trainings_in_the_store_are_not(home):
    finding = found(doctor.examine(), "trained runs")
    assert finding.found == "none with a checkpoint" and "train.ipynb" in finding.advice
    for folder in (home / "outputs" / ".stages" / "train-1", home / "outputs" / "adhoc"):
        folder.mkdir(parents=True)
    (home / "outputs" / ".stages" / "train-1" / "checkpoint.pt").touch()
    (home / "outputs" / "adhoc" / "checkpoint.pt").symlink_to("../.stages/train-1/checkpoint.pt")
    assert found(doctor.examine(), "trained runs") == ("trained runs", "1, the latest in outputs/adhoc", "", False)


@pytest.mark.parametrize("names, command", [({}, "papermill"), ({"UV": "/bin/uv"}, "uv run papermill")])
def test_the_next_command_is_one_that_works_from_where_doctor_was_called(names, command, monkeypatch):
    for name in ("UV", "UV_RUN_RECURSION_DEPTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert doctor.main_job() == f"{command} notebooks/train.ipynb -p split 50"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.main_job().startswith("uv run papermill")
