"""The benchmark of batches executes the same runs whole, however many at once, and says what that gains."""

import instant
import pytest

from tadlib import machine
from tadlib.workbook import benchmark, runs


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project whose stages take no time, executed in this process."""
    instant.project(tmp_path)
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.setattr("tadlib.workbook.sharing.execute_notebook", instant.execute)
    monkeypatch.setattr("tadlib.workbook.warm.warm_up", lambda environment: None)
    monkeypatch.setattr(runs, "device_name", lambda device: device)
    return tmp_path


def test_a_batch_executes_every_stage_of_every_run_and_shares_nothing(home):
    for jobs in (1, 2):
        (home / "calls").unlink(missing_ok=True)
        assert benchmark.batch(3, jobs, {"split": 50}) > 0
        assert (home / "calls").read_text().count("end ") == 3 * 4
    found = runs.load(instant.versions(home, "benchmark")[-1])
    assert [(run["parameters"]["seed"], run["parameters"]["split"]) for run in found] == [(0, 50), (1, 50), (2, 50)]


def test_a_run_that_fails_ends_the_benchmark_and_is_named(home):
    (home / "notebooks" / "train.ipynb").write_text("fail")
    with pytest.raises(RuntimeError, match="seed-0 failed in train: KeyError: bad: see .*seed-0"):
        benchmark.batch(1, 1, {})


def test_the_cores_are_divided_among_the_runs(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert benchmark.told(2, 50.0, 85.0) == "4 runs, 2 at a time, threads each: 4: 50.0 s, 1.70 times as fast"
    assert "threads each: 8: 85.0 s, 1.00 times" in benchmark.told(1, 85.0, 85.0)


@pytest.mark.parametrize(("together", "status"), [(60.0, 0), (65.0, 1)])
def test_the_status_says_whether_the_gain_is_what_we_want(together, status, monkeypatch, capsys):
    class Fresh:
        """A process that answers at once."""

        def __init__(self, *words):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *words):
            pass

        def submit(self, batch, runs, jobs, given):
            assert batch is benchmark.batch and given == benchmark.SMALL | {"epochs": 1}
            self.result = lambda: together if jobs == benchmark.JOBS else 100.0
            return self

    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", Fresh)
    assert benchmark.main(["epochs=1"]) == status
    assert f"{together} s, {100 / together:.2f} times as fast (wanted: 1.6)" in capsys.readouterr().out


@pytest.mark.slow
def test_it_measures_real_runs(tiny, capsys):
    assert benchmark.main([f"{name}={value}" for name, value in tiny.items()]) in (0, 1)
    alone, together = capsys.readouterr().out.splitlines()[1:]
    assert "1.00 times as fast" in alone and "2 at a time" in together
