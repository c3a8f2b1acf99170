"""Published detections keep the scores that the published evaluators gave them."""

import re

import golden
import numpy as np
import pytest
from golden import TIOUS, TOLERANCE

from tadlib.evaluation import metrics, thumos
from tadlib.evaluation.matching import overlaps
from tadlib.evaluation.recall import RECALL_TIOUS, area, recall_table
from tadlib.evaluation.rows import without_labels

SPLITS = [f"{split}/split_{number}" for split in (50, 75) for number in range(5)]
EXCLUDED_BY_GAP = {f"video_test_000{number}" for number in ("0270", "1292", "1496", "0814", "0504")}


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "evaluation"


@pytest.fixture(scope="module")
def splits(folder):
    return golden.read_json(folder / "golden" / "freezad_splits_0-4.json")["results"]


@pytest.fixture(scope="module")
def thumos14(shared_data):
    return golden.read_json(shared_data / "thumos14" / "annotations.json")["database"]


def only_test_videos(actions, predictions):
    return [row for row in actions if "_test_" in row[0]], [row for row in predictions if "_test_" in row[0]]


def counted_by_gap(thumos14, classes, predictions):
    actions = [
        (video, *map(float, row["segment"]), row["label"])
        for video, entry in thumos14.items()
        if entry["subset"] == "test" and video not in EXCLUDED_BY_GAP
        for row in entry["annotations"]
        if row["label"] in classes and row["segment"][1] - row["segment"][0] > 8 / entry["fps"]
    ]
    videos = {row[0] for row in actions}
    return actions, [row for row in predictions if row[0] in videos]


def chosen(protocol, thumos14, actions, predictions):
    if protocol == "test_videos_only":
        return only_test_videos(actions, predictions)
    if protocol == "gap_protocol":
        return counted_by_gap(thumos14, {row[3] for row in actions}, predictions)
    return actions, predictions


def assert_detection(rows, expected, classes=None):
    table = metrics.precision_table(rows, expected["tiou"])
    assert (len(rows.actions.label), len(rows.predictions.label)) == (expected["n_gt"], expected["n_pred"])
    assert len(np.unique(rows.actions.video)) == expected["n_gt_videos"]
    np.testing.assert_allclose(table.mean(axis=0), expected["mAP_per_tiou"], rtol=0, atol=TOLERANCE)
    assert metrics.means(table, expected["tiou"])["mAP"] == pytest.approx(expected["average_mAP"], rel=0, abs=TOLERANCE)
    if classes is not None:
        per_class = [expected["AP_per_class"][label] for label in classes]
        np.testing.assert_allclose(table, per_class, rtol=0, atol=TOLERANCE)


def assert_proposals(rows, expected):
    table = recall_table(rows, expected["tiou"])
    average = table.mean(axis=0)
    for number, value in expected["AR_at"].items():
        assert average[int(number) - 1] == pytest.approx(value, rel=0, abs=TOLERANCE)
    np.testing.assert_allclose(table[:, 99], expected["recall_at_AN100_per_tiou"], rtol=0, atol=TOLERANCE)
    assert area(table) == pytest.approx(expected["AUC"], rel=0, abs=TOLERANCE)


@pytest.mark.parametrize("protocol", ["repo_all_videos", "test_videos_only", "gap_protocol"])
@pytest.mark.parametrize("split", SPLITS)
def test_freezads_detections_score_as_the_activitynet_toolkit_scores_them(folder, splits, thumos14, split, protocol):
    actions, predictions = chosen(protocol, thumos14, *golden.freezad(folder / "freezad", split))
    rows = golden.comparison(actions, predictions)
    expected = splits[split][protocol]
    assert_detection(rows, expected["detection"], sorted({row[3] for row in actions}))
    assert_proposals(rows, expected["proposal"])


@pytest.mark.parametrize("protocol", ["test_videos_only", "gap_protocol"])
@pytest.mark.parametrize("split", SPLITS)
def test_freezads_detections_without_labels_and_to_tiou_one(folder, splits, thumos14, split, protocol):
    rows = golden.comparison(*chosen(protocol, thumos14, *golden.freezad(folder / "freezad", split)))
    expected = splits[split][protocol]
    assert_detection(without_labels(rows), expected["class_agnostic_detection"])
    assert_proposals(rows, expected["proposal_tiou_0.5_1.0"])


@pytest.mark.parametrize("subset", ["test", "val"])
@pytest.mark.parametrize("split", SPLITS)
def test_freezads_detections_score_as_the_thumos14_toolkit_scores_them(folder, shared_data, splits, split, subset):
    expected = splits[split]["official_thumos14_toolkit"][subset]
    official = shared_data / "thumos14" / "official_txt" / subset
    part = {"test": "_test_", "val": "_validation_"}[subset]
    classes = sorted(expected["AP_per_class"])
    actions = [row for label in classes for row in golden.official(official, label, subset)]
    unclear = golden.official(official, "Ambiguous", subset)
    predictions = [row for row in golden.freezad(folder / "freezad", split)[1] if part in row[0]]
    videos = sorted({row[0] for row in actions + unclear + predictions})
    rows = golden.comparison(actions, predictions, videos)
    place = {video: number for number, video in enumerate(videos)}
    ambiguous = thumos.Ambiguous(
        np.array([place[row[0]] for row in unclear]), np.array([row[1:3] for row in unclear], dtype=np.float64)
    )
    table = thumos.precision_table(rows, expected["tiou"], ambiguous)
    np.testing.assert_allclose(table, [expected["AP_per_class"][c] for c in classes], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(table.mean(axis=0), expected["mAP_per_tiou"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("share", [50, 75])
def test_the_authors_own_means_lie_near_ours_on_the_five_splits_at_hand(folder, splits, share):
    authors = golden.read_json(folder / "golden" / "freezad_mean_of_10_splits.json")
    printed = authors["printed_by_the_authors_script"][str(share)]["per_tiou_percent"]
    summary = authors["summary"][f"{share}/repo_all_videos"]
    rounded = 100 * np.array(summary["mean_over_10_splits"])
    np.testing.assert_allclose(rounded, printed, rtol=0, atol=0.02)  # they round each class to 0.1 points first
    own = [
        metrics.means(metrics.precision_table(golden.comparison(*golden.freezad(folder / "freezad", s)), TIOUS), TIOUS)
        for s in SPLITS
        if s.startswith(str(share))
    ]
    kept = [splits[s]["repo_all_videos"]["detection"]["average_mAP"] for s in SPLITS if s.startswith(str(share))]
    assert np.mean([each["mAP"] for each in own]) == pytest.approx(np.mean(kept), rel=0, abs=TOLERANCE)


@pytest.fixture(scope="module")
def activitynet(shared_data):
    database = golden.read_json(shared_data / "activitynet13" / "activity_net.v1-3.rebuilt.json.gz")["database"]
    sample = golden.read_json(
        shared_data / "evaluation" / "activitynet_sample" / "sample_detection_prediction.json.gz"
    )["results"]
    actions = [
        (video, *row["segment"], row["label"])
        for video, entry in database.items()
        if entry["subset"] == "validation"
        for row in entry["annotations"]
    ]
    predictions = [(video, *row["segment"], row["label"], row["score"]) for video in sample for row in sample[video]]
    return actions, predictions, set(golden.read_json(shared_data / "activitynet13" / "blocked_videos.json"))


@pytest.mark.parametrize("blocked_left_out", [False, True])
def test_the_official_activitynet_sample_with_its_segments_of_no_length(folder, activitynet, blocked_left_out):
    actions, predictions, blocked = activitynet
    left_out = blocked if blocked_left_out else set()
    rows = golden.comparison(
        [row for row in actions if row[0] not in left_out], [row for row in predictions if row[0] not in left_out]
    )
    results = golden.read_json(folder / "golden" / "activitynet_sample.json")
    expected = results["without_blocked_videos" if blocked_left_out else "all_validation_videos"]
    assert len(rows.actions.label) == expected["n_gt"]
    table = metrics.precision_table(rows, RECALL_TIOUS)
    np.testing.assert_allclose(table.mean(axis=0), expected["mAP_per_tiou"], rtol=0, atol=TOLERANCE)
    recall = recall_table(rows, ties="peer")
    assert area(recall) == pytest.approx(expected["proposal"]["AUC"], rel=0, abs=TOLERANCE)
    for number, value in expected["proposal"]["AR_at"].items():
        assert recall.mean(axis=0)[int(number) - 1] == pytest.approx(value, rel=0, abs=TOLERANCE)


def test_two_videos_small_enough_to_check_by_hand(folder):
    truth = golden.read_json(folder / "activitynet_two_videos" / "ground_truth.json")
    found = golden.read_json(folder / "activitynet_two_videos" / "predictions.json")["results"]
    actions = [
        (video.removeprefix("v_"), *row["segment"], row["label"])
        for video in truth
        for row in truth[video]["annotations"]
    ]
    predictions = [(video, *row["segment"], row["label"], row["score"]) for video in found for row in found[video]]
    expected = golden.read_json(folder / "golden" / "activitynet_two_videos.json")["results"]
    rows = golden.comparison(actions, predictions)
    assert_detection(rows, expected["detection"], ["Cleaning shoes", "Wakeboarding"])
    assert_proposals(rows, expected["proposal"])


WINDOW_LENGTHS = {"full": (0, 150), "long": (30, 150), "middle": (10, 30), "short": (0, 10)}  # seconds, (least, most]


@pytest.mark.parametrize("length", WINDOW_LENGTHS)
def test_moment_retrieval_scores_as_its_authors_scored_it(folder, length):
    truth = golden.read_lines(folder / "moment_retrieval" / "qvhighlights_val.jsonl.gz")
    found = golden.read_lines(folder / "moment_retrieval" / "moment_detr_sample_val_preds.jsonl.gz")
    expected = golden.read_json(folder / "golden" / "moment_detr_sample_val_preds_metrics.json")[length]["MR-mAP"]
    least, most = WINDOW_LENGTHS[length]
    # every query is a class of its own, in a video of its own
    actions = [
        (row["qid"], *window, row["qid"])
        for row in truth
        for window in row["relevant_windows"]
        if least < window[1] - window[0] <= most
    ]
    queries = {row[3] for row in actions}
    predictions = [
        (row["qid"], *window[:2], row["qid"], window[2])
        for row in found
        if row["qid"] in queries
        for window in row["pred_relevant_windows"][:10]
    ]
    table = metrics.precision_table(golden.comparison(actions, predictions), RECALL_TIOUS).mean(axis=0)
    for tiou, value in zip(RECALL_TIOUS, table, strict=True):
        assert round(100 * value, 2) == expected[str(tiou)]
    assert round(100 * table.mean(), 2) == expected["average"]


def test_video_level_scores_give_the_published_accuracy(folder, shared_data):
    database = golden.read_json(shared_data / "activitynet13" / "activity_net.v1-3.rebuilt.json.gz")["database"]
    named = golden.read_json(folder / "video_level_scores" / "stale_activitynet_validation.json.gz")
    expected = golden.read_json(folder / "golden" / "video_level_scores.json")
    # a label of a video is a segment that fills it
    actions = [
        (f"v_{video}", 0, 1, label)
        for video, entry in database.items()
        if entry["subset"] == "validation"
        for label in sorted({row["label"] for row in entry["annotations"]})
    ]
    predictions = [(video, 0, 1, entry["class"], entry["score"]) for video, entry in named.items()]
    rows = golden.comparison(actions, predictions)
    assert metrics.precision_table(rows, [0.5]).mean() == pytest.approx(expected["mAP"], rel=0, abs=TOLERANCE)
    labels = {(row[0], row[3]) for row in actions}
    right = [(row[0], row[3]) in labels for row in predictions]
    assert np.mean(right) == pytest.approx(expected["hit_at_1"], rel=0, abs=TOLERANCE)


def test_the_authors_overlaps_of_200_videos_of_proposals(folder):
    text = (folder / "tag_proposals" / "anet12_val_first_200_videos.txt").read_text()
    stated, computed = [], []
    for block in re.split(r"^# \d+\n", text, flags=re.MULTILINE)[1:]:
        lines = block.split("\n")
        number = int(lines[3])
        true = np.array([line.split()[1:] for line in lines[4 : 4 + number]], dtype=np.float64)
        proposals = np.array([line.split() for line in lines[5 + number :] if line], dtype=np.float64)
        for _, tiou, _, start, end in proposals:
            stated.append(tiou)
            computed.append(overlaps(np.tile([start, end], (number, 1)), true).max())
    difference = np.abs(np.array(stated) - computed)
    # theirs were computed in whole frames and rounded
    assert len(stated) == 9879
    assert np.quantile(difference, 0.99) <= 0.0033 and np.quantile(difference, 0.999) <= 0.01
