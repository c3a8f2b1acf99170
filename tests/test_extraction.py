"""Videos dealt out among jobs that encode them: what is asked of whom, and what becomes of it."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from standins import extraction_plan

from tadlib.data.streams import BrokenVideo
from tadlib.workbook import batch, plans
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params

LACKING = [f"v{number}" for number in range(5)]


@pytest.fixture
def asked(monkeypatch):
    """What jobs are asked, of which the videos alone are kept; they answer that five videos lack features."""
    found = []

    def encode(params: Params, videos: list[str] | None = None) -> str | list[str]:
        found.append(videos or params.stride)
        return "encoded" if videos else LACKING

    monkeypatch.setattr(batch, "encode", encode)
    monkeypatch.setattr(batch, "SHARE", 2)
    return found


def extract_missing(folder: Path, *lines: str, pool=None) -> list[str]:
    """What is said while the features of an experiment are dealt out to a pool."""
    path = folder / "e.yaml"
    path.write_text("\n".join(lines) + "\n")
    said: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        batch.extract_missing(plans.plan(path), said.append, pool or threads)
    return said


def test_features_that_runs_lack_are_made_once_for_each_way_of_sampling_in_shares(tmp_path, asked):
    said = extract_missing(tmp_path, "sweep: {split_id: [0, 1], lr: [0.1, 0.2]}", "stride: 16")
    assert asked == [16, ["v0", "v1"], ["v2", "v3"], ["v4"]]
    assert said[0] == "features: 5 videos of demo in 3 shares ..."
    assert said[1:] == [f"features: share {number} of 3 encoded" for number in (1, 2, 3)]
    asked.clear()
    extract_missing(tmp_path, "runs: [{stride: 8}, {stride: 16}, {features: simulate}, {features: some/folder}]")
    assert [each for each in asked if isinstance(each, int)] == [8, 16] and len(asked) == 8


@pytest.mark.parametrize("broken", [False, True])
def test_jobs_encode_every_video_that_can_be_read_and_prepare_finds_them(broken, tmp_path, monkeypatch):
    folder, plan = extraction_plan(tmp_path)
    if broken:
        (folder / "videos" / "v3.mp4").write_bytes(b"no film")
    monkeypatch.setattr(batch, "SHARE", 2)
    said: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        batch.extract_missing(plan, said.append, threads)
    assert said[0] == f"features: 5 videos of {folder} in 3 shares ..." and len(said) == 4
    made = sorted(folder.glob("features/*/*.npy"))
    assert [path.stem for path in made] == [f"v{number}" for number in range(5) if not broken or number != 3]
    before = [path.stat().st_mtime_ns for path in made]
    params = Params.check(next(iter(plan.runs.values())))
    if broken:
        with pytest.raises(BrokenVideo, match="v3.mp4"):
            gather(params)
        return
    assert gather(params).encoding_seconds > 0, "what the jobs took is known"
    assert [path.stat().st_mtime_ns for path in made] == before, "made by the jobs, not again"
    there = [np.load(path) for path in made]
    for path in made:
        path.with_suffix(".json").unlink()
    gather(params)
    for theirs, path in zip(there, made, strict=True):
        np.testing.assert_array_equal(theirs, np.load(path))


def test_shares_that_nobody_has_begun_are_withdrawn_when_the_batch_ends(tmp_path, asked):
    class Interrupted(Executor):
        def __init__(self):
            self.jobs: list[Future] = []

        def submit(self, work, *words):
            job: Future = Future()
            if not self.jobs:
                job.set_result(LACKING)
            self.jobs.append(job)
            if len(self.jobs) == 3:
                raise KeyboardInterrupt
            return job

    pool = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        extract_missing(tmp_path, "split: 50", pool=pool)
    assert [job.cancelled() for job in pool.jobs] == [False, True, False]
