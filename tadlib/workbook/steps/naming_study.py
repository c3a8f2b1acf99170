"""What the choices of naming do on the same proposals: texts, poolings, fusion weights, certainty, tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Num, Shaped

from tadlib.detector.proposals import Proposals
from tadlib.evaluation import calibration, metrics
from tadlib.evaluation.calibration import Reliability
from tadlib.naming import tokens
from tadlib.naming.context import fits
from tadlib.naming.descriptions import KINDS, has_all
from tadlib.naming.fusion import Detections
from tadlib.naming.pooling import HOW
from tadlib.naming.text import STYLES, texts_of
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data
from tadlib.workbook.steps.heads import untrained
from tadlib.workbook.steps.naming import class_logits, fused, name, named_segments
from tadlib.workbook.steps.preparing import prepared
from tadlib.workbook.steps.sources import wording

READERS = ("text_attention", "matching_fixed", "matching_learned", "mask")  # poolings that make logits alone
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # CLIP's share
GOOD = 0.5  # tIoU from which a proposal counts as being on its action


def styles(data: Data) -> tuple[str, ...]:
    """The styles of text that can be compared: those for which every class has texts and the encoder reads them."""
    if not data.reads_any_text:
        return (data.params.text,)
    own = wording(data.params).descriptions
    return (*STYLES, *(kind for kind in KINDS if has_all(data.benchmark.classes, kind, own)))


def compare_poolings(data: Data, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """Every pooling on the same segments: share named right of true ones and of good proposals, and mAP, by CLIP.

    Order-aware pooling is there where every class has subactions that leave room for `context`, and reads them; the
    others read `text`. Poolings that learn are trained as everything else that the parameters ask for, on seen classes.
    """
    cosines = params.similarity == "cosine"
    changes = [{"pooling": how} for how in (*HOW, *READERS) if cosines or not how.startswith("matching")]
    orders = params.text_head != "cross" and params.background != "learned" and params.transfer == "none"
    if orders and "subactions" in styles(data):
        bins = max(params.roi_bins, Params.model_fields["roi_bins"].default)  # no fewer than a class has steps
        ordered = {"pooling": "ordered", "text": "subactions", "lead": "none", "roi_bins": bins}
        steps = texts_of(data.benchmark.classes, wording(params.but(**ordered)))
        changes += [ordered] if fits(data.encoder, params.context, steps) else []
    if params.pooling == "ordered":
        changes = [{"text": "subactions", "lead": "none"} | change for change in changes]
    rows = []
    for change in changes:
        changed = params.but(**{"target": "foreground"} | change)
        now = replace(data, params=changed)
        rows.append(
            {"pooling": changed.pooling, "text": changed.text}
            | _accuracies(now, proposals)
            | {"mAP": _mean_precision(data, name(now, proposals, changed))}
        )
    return rows


def _accuracies(data: Data, proposals: Mapping[str, Proposals]) -> dict[str, float]:
    on_truth, on_proposals = named_segments(data), named_segments(data, proposals)
    good = on_proposals["tiou"] >= GOOD
    return {
        "true segments": _share(on_truth["true"] == on_truth["named"]),
        "good proposals": _share((on_proposals["true"] == on_proposals["named"])[good]),
    }


def _share(right: Shaped[np.ndarray, " n"]) -> float:
    """The share that is right; no number where there is nothing."""
    return float(right.mean()) if len(right) else float("nan")


def _mean_precision(data: Data, detections: Mapping[str, Detections]) -> float:
    return metrics.mean_average_precision(data.scored, detections, data.classes.unseen, data.benchmark.tious)["mAP"]


def accuracy_by_text(data: Data, params: Params) -> dict[str, dict[str, float]]:
    """Share of the true segments of each unseen class that frozen CLIP names right, for each style of text."""
    found = {}
    for style in styles(data):
        changed = untrained(params).but(text=style, lead="none", pooling="mean")
        verdicts = named_segments(replace(data, params=changed))
        right = verdicts["true"] == verdicts["named"]
        found[style] = {
            label: _share(right[verdicts["true"] == place]) for place, label in enumerate(data.classes.unseen)
        }
    return found


def fusion_curves(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, list[float]]:
    """mAP at every one of `WEIGHTS` (CLIP's share) for both means, and of the product for comparison."""
    proposals = prepared(data, proposals, params)
    logits = class_logits(data, proposals, params)

    def precision(how: str, weight: float) -> float:
        """mAP of one way of fusing the same logits."""
        changed = params.but(fusion=how, fusion_weight=weight)
        return _mean_precision(data, fused(data, proposals, logits, changed))

    curves = {how: [precision(how, weight) for weight in WEIGHTS] for how in ("geometric", "arithmetic")}
    return curves | {"after_softmax": [precision("after_softmax", 0.5)] * len(WEIGHTS)}


def certainties(verdicts: Mapping[str, Mapping[str, Num[np.ndarray, "..."]]]) -> dict[str, Reliability]:
    """How often CLIP is right by how sure it is, for each kind of segments that has any."""
    return {
        kind: calibration.reliability(found["certainty"].clip(0, 1), found["true"] == found["named"])
        for kind, found in verdicts.items()
        if len(found["true"])
    }


def token_table(data: Data, classes: Sequence[str]) -> list[dict[str, object]]:
    """How the texts of classes are read, and those of all competing ones that are cut; last what happens to one that
    is too long: the first, again and again.
    """
    texts = [text for several in texts_of(classes, wording(data.params)) for text in several]
    every = [text for several in texts_of(data.competing, wording(data.params)) for text in several]
    cut = [text for text in tokens.cut_texts(data.encoder, every) if text not in texts]
    return tokens.token_rows(data.encoder, [*texts, *cut, tokens.too_long(data.encoder, texts[0])])


def token_places(data: Data, label: str) -> list[dict[str, object]]:
    """What CLIP gets of the first text of a class, place by place."""
    return tokens.explain(data.encoder, texts_of([label], wording(data.params))[0][0])
