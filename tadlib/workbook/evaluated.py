"""What evaluate.ipynb scores: a run's detections in the test videos, or in those its detector learned from."""

from collections.abc import Mapping

from tadlib import ideas
from tadlib.detector.proposals import Proposals, predict
from tadlib.evaluation import diagnosis
from tadlib.naming.fusion import Detections, read_detections, write_detections
from tadlib.task import SIDES, Task
from tadlib.workbook.detectors import load_detector, load_proposals
from tadlib.workbook.evaluations import DETECTIONS_ON_TRAINING
from tadlib.workbook.inference import clip_proposals, inference_windows, name, propose
from tadlib.workbook.params import Params
from tadlib.workbook.results import whatever_the_label
from tadlib.workbook.runs import Run


def evaluated(data: Task, params: Params, run: Run) -> tuple[Task, dict[str, Proposals], dict[str, Detections]]:
    """The data with the videos that `evaluate_on` asks for, and a run's proposals and detections in them.

    Those of the test are read as earlier stages wrote them. In the training videos the run's detector is asked now, in
    windows as in the test, and its proposals are named as the run names, among the seen classes; writes
    `detections_on_training.json`. Raises ValueError for a protocol under which none of their actions counts.
    """
    if params.evaluate_on == "test":
        detections = read_detections(run.require("detections.json", "classify"))
        return data, load_proposals(data, params, run), detections
    test, data = data, data.on_training()
    if not data.test_videos:
        raise ValueError(
            f"protocol={params.protocol} counts no action of a seen class in the training videos: "
            "evaluate_on=training needs one, pass another protocol"
        )
    model = load_detector(test, params, run)
    windows = inference_windows(data.scored, data, params)
    predictions = predict(model, windows, texts=ideas.texts(data, data.competing, params))
    proposals = propose(predictions, windows, params, clip_proposals(data, params))
    detections = name(data, proposals, params)
    write_detections(run.target(DETECTIONS_ON_TRAINING), detections)
    return data, proposals, detections


def beside_test(
    test: Task,
    data: Task,
    proposals: Mapping[str, Proposals],
    detections: Mapping[str, Detections],
    params: Params,
    run: Run,
) -> list[dict[str, object]]:
    """mAP, class-agnostic mAP and average recall of what `evaluated` gives, below the same of the test where it is not.

    The row of the test is scored anew from the run's files, under the protocol in force.
    """
    rows = [_row(data, proposals, detections, params)]
    if data.evaluate_on == "test":
        return rows
    params = params.but(evaluate_on="test")
    return [_row(*evaluated(test, params, run), params), *rows]


def _row(
    data: Task, proposals: Mapping[str, Proposals], detections: Mapping[str, Detections], params: Params
) -> dict[str, object]:
    shown, tious = {SIDES[data.evaluate_on]: ("ours", detections)}, data.benchmark.tious
    (row,) = diagnosis.rows(data.scored, shown, data.classes.unseen, tious, data.protocol, data.ambiguous)
    agnostic = whatever_the_label(data, proposals, params)
    counts = {"videos": len(data.scored), "actions": sum(len(video.actions) for video in data.scored)}
    return (
        {"side": row["name"]}
        | counts
        | {metric: value for metric, value in row.items() if metric.startswith("mAP")}
        | {"mAP of proposals": agnostic["agnostic_mAP"]}
        | {metric: value for metric, value in agnostic.items() if metric.startswith("AR@")}
    )
