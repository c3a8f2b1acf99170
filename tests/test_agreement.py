"""Proposals scored by how well CLIP's own groups of snippets agree: the formula, what it reaches and leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from notebook import run_cells

from tadlib.data.annotations import spoken
from tadlib.data.encoder import table_encoder
from tadlib.detector.proposals import MIN_AGREEMENT, Proposals, with_agreement
from tadlib.naming.fusion import Detections
from tadlib.naming.text import PROMPT
from tadlib.workbook import epoch_metrics, inference, results
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params

OWN = Proposals(torch.tensor([[0.0, 10.0], [10.0, 20.0], [40.0, 50.0]]), torch.tensor([0.9, 0.5, 0.4]))
OTHERS = Proposals(torch.tensor([[0.0, 20.0], [10.0, 20.0], [12.0, 20.0]]), torch.tensor([0.8, 0.3, 0.6]))


def test_agreement_is_the_best_overlap_times_score_and_meets_the_own_score_in_a_geometric_mean():
    told = torch.tensor([0.5 * 0.8, 0.8 * 0.6, MIN_AGREEMENT])  # of the second 0.5 x 0.8, 1 x 0.3 and 0.8 x 0.6
    for share in (0.0, 0.25, 0.5, 1.0):
        found = with_agreement(OWN, OTHERS, share)
        torch.testing.assert_close(found.scores, OWN.scores ** (1 - share) * told**share)
        assert torch.equal(found.segments, OWN.segments)


@pytest.mark.notebooks
def test_proposals_that_agree_win_before_overlaps_are_thinned_and_count_in_the_curve(tiny, tmp_path):
    given = tiny | {"split": 50, "epochs": 1, "curves": True, "agreement": 0.5, "run_dir": str(tmp_path)}
    made = run_cells("train", "table = ", **given)
    (ours,) = [row for row in made.table if row["role"] == "ours"]
    assert made.trainer.history[-1][epoch_metrics.NAMED] == pytest.approx(ours["mAP"], abs=1e-9)
    params, data, predictions, windows = made.params, made.data, made.predictions, made.test_windows
    beside = inference.clip_proposals(data, params)
    assert beside is not None and beside.keys() == {video.id for video in data.scored}
    many = params.model_copy(update={"nms": "none", "top_k": 10_000})
    alone, together = (inference.propose(predictions, windows, many, other) for other in (None, beside))
    for video_id, found in together.items():
        rescored = with_agreement(alone[video_id], beside[video_id], 0.5).scores.sort(descending=True).values
        torch.testing.assert_close(found.scores, rescored)
    thinned = [inference.propose(predictions, windows, params, other) for other in (None, beside)]
    assert any(not torch.equal(thinned[0][v].segments, thinned[1][v].segments) for v in beside)
    off = params.model_copy(update={"agreement": 0.0})
    assert inference.clip_proposals(data, off) is None


@pytest.mark.notebooks
def test_an_encoder_that_cannot_be_asked_is_named(tiny, tmp_path):
    params = Params.read(tiny | {"run_dir": str(tmp_path / "run"), "features": "simulate", "agreement": 0.5})
    data = gather(params)
    nothing = {video.id: Detections(torch.zeros(0, 2), torch.zeros(0), ()) for video in data.scored}
    assert inference.clip_proposals(data, params).keys() == nothing.keys(), "simulated texts are of background too"
    assert len(results.compare(data, nothing, params)) == 10
    said = [PROMPT.replace("{}", spoken(name)) for name in data.benchmark.classes]
    data = replace(data, encoder=table_encoder("own.npz", dict.fromkeys(said, np.ones(512))))
    with pytest.raises(
        ValueError, match="agreement=0.5 asks what background looks like: it needs an encoder that reads"
    ):
        inference.clip_proposals(data, params)
    assert [row["name"].count("NMS") for row in results.compare(data, nothing, params.but(nms="none"))] == [0] * 9
