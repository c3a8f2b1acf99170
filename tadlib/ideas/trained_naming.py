"""Naming trained on seen classes, once, and then kept: heads, learned context, background, matching, mask.

The question files `heads_*`, `text_heads`, `context`, `background`, `matching`, `mask_pooling`, `head_*` and
`hard_negatives` ask what each is worth. (entries 40, 44, 47, 52 to 66 and 68)
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.files import atomic, digest
from tadlib.ideas import hard_negatives, head_training, mask, text_queries
from tadlib.ideas.head_losses import NOTHING
from tadlib.ideas.head_training import ClassTexts, Examples, HeadTraining, NamingHead, TrainableParts
from tadlib.naming.classifier import Classifier
from tadlib.naming.similarity import scale_of
from tadlib.naming.text import TextEmbeddings, texts_of
from tadlib.segments import roi_align
from tadlib.task import Task, spans, true_segments

SNIPPETS = 4000  # at most so many to learn from
LEARNED = ("matching_fixed", "matching_learned", "mask")  # poolings that are trained, or that heads are trained with
HERE = Path(__file__).parent
# what is trained belongs to the code that trained it
SOURCES = (*sorted(HERE.glob("*.py")), *sorted((HERE.parent / "naming").glob("*.py")), HERE.parent / "segments.py")
# the words at which nothing is trained: frozen CLIP alone
FROZEN = {"head": "none", "text_head": "none", "context": 0, "background": "none", "transfer": "none", "rerank": 0.0}
FROZEN |= {"head_loss": "cross_entropy", "hard_negatives": "none"}  # no pairs without what is trained on them


def frozen(pooling: str) -> dict[str, object]:
    """The words at which frozen CLIP alone names, as near to a pooling as it gets."""
    return FROZEN | {"pooling": "mean" if pooling in ("matching_learned", "mask") else pooling}


def trained(data: Task, parts: TrainableParts, training: HeadTraining) -> NamingHead | None:
    """What was trained in this way, or nothing if nothing is asked for; kept beside the features."""
    if not parts.trained:
        return None
    training = replace(training, factor=scale_of(data.encoder.logit_scale, training.logit_scale))
    path = data.benchmark.cache / "heads" / f"{_key(data, parts, training)}.pt"
    channels = data.store.read(data.training_videos[0].id).shape[1]
    with devices.seeded(training.seed):
        model = NamingHead(parts, channels, data.encoder)
        if path.is_file():
            model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        else:
            _train(model, data, parts, training)
            with atomic(path) as temporary:
                torch.save(model.state_dict(), temporary)
    return model.eval().requires_grad_(False)


def _key(data: Task, parts: TrainableParts, training: HeadTraining) -> str:
    wanted = asdict(parts) | asdict(training)
    if parts.pooling not in LEARNED:
        del wanted["pooling"]  # one training serves every pooling of frozen CLIP
    made = [path.read_text(encoding="utf-8") for path in SOURCES]  # of other code nothing is taken
    texts = texts_of(data.classes.seen, data.wording)
    return digest([wanted, data.classes.seen, texts, data.ignore_unseen, data.fingerprint, torch.__version__, *made])


def class_texts(data: Task, classes: Sequence[str]) -> ClassTexts:
    """The texts of classes, and what the frozen encoder makes of them."""
    return ClassTexts(texts_of(classes, data.wording), data.text_embeddings(classes))


def classifier(found: Classifier, data: Task, parts: TrainableParts, training: HeadTraining) -> Classifier | None:
    """The classifier with trained heads, and with trained texts where there are any."""
    model = trained(data, parts, training)
    if model is None:
        return None
    found = replace(found, head=model.visual)
    if (parts.text_head, parts.context, parts.background == "learned") == ("none", 0, False):
        return found

    def steps(classes: Sequence[str]) -> TextEmbeddings:
        """The embeddings of every text of classes."""
        read = model.steps(class_texts(data, classes))
        return TextEmbeddings(model.mapped(read), read.padding)

    return replace(
        found,
        embed_texts=steps,
        embed=lambda classes: model.classes(model.steps(class_texts(data, classes))),
    )


def learned_pooling(
    found: Classifier, data: Task, parts: TrainableParts, training: HeadTraining, similarity_at: str
) -> Classifier | None:
    """The classifier with a learned matching or a mask in place of its pooling."""
    if parts.pooling not in ("matching_learned", "mask"):
        return None
    model = trained(data, parts, training)
    if parts.pooling == "mask":
        return mask.with_mask(found, model.mask, similarity_at)
    return text_queries.with_matching(found, model.matching)


def _train(model: NamingHead, data: Task, parts: TrainableParts, training: HeadTraining) -> None:
    if model.mask is not None:
        snippets, labels = data.training_snippets()
        mask.fit_mask(model.mask, snippets, labels != NOTHING, training.head_epochs, training.head_lr)
    if any(not name.startswith("mask.") for name, weight in model.named_parameters() if weight.requires_grad):
        learn_from = examples(
            data, background=parts.background != "none", head_on=training.head_on, bins=training.roi_bins
        )
        head_training.fit(model, learn_from, class_texts(data, data.classes.seen), training)


def examples(data: Task, *, background: bool = False, head_on: str = "segments", bins: int = 16) -> Examples:
    """Bins under every true segment of a seen class in the training videos, or snippets; background if it is asked for.

    Background is where nothing happens that is annotated; with `ignore_unseen` nowhere, nothing of a seen class.
    """
    if head_on == "snippets":
        snippets, labels = data.training_snippets()
        kept = torch.ones(len(labels), dtype=torch.bool) if background else labels != NOTHING
        rows = kept.nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows))[:SNIPPETS]]
        nothing = snippets.new_zeros(len(rows), 0, 1, snippets.shape[1])
        return Examples(snippets[rows, None], labels[rows], nothing, torch.zeros(len(rows), 0, dtype=torch.bool))
    parts, places = [], {label: place for place, label in enumerate(data.classes.seen)}
    for video in data.training_videos:
        segments = true_segments(video)
        labels = [places[action.label] for action in video.actions]
        if background:
            gaps = between(spans(data.occupied[video.id]), video.duration, 1 / float(data.grid(video).snippets(1.0)))
            segments, labels = torch.cat([segments, gaps]), labels + [NOTHING] * len(gaps)
        under, beside, there = bins_beside(data, video, segments, bins)
        there &= ~hard_negatives.repeated(segments, torch.tensor(labels), video.duration)
        parts.append(Examples(under, torch.tensor(labels), beside, there))
    return Examples(*(torch.cat(field) for field in zip(*parts, strict=True)))


def bins_beside(
    data: Task, video: Video, segments: Float[Tensor, "n 2"], bins: int
) -> tuple[Float[Tensor, "n r c"], Float[Tensor, "n w r c"], Bool[Tensor, "n w"]]:
    """Bins under segments (seconds) of a video and beside them, and which of the latter are in the video."""
    snippets = data.features(video)
    segments_ix = data.grid(video).snippets(segments)
    regions, there = hard_negatives.beside(segments_ix, len(snippets))
    found = roi_align(snippets, torch.cat([segments_ix[:, None], regions], dim=1).flatten(0, 1), bins)
    found = found.unflatten(0, (-1, 3))
    return found[:, 0], found[:, 1:], there


def between(segments: Float[Tensor, "n 2"], duration: float, least: float) -> Float[Tensor, "m 2"]:
    """The stretches of a video of `duration` seconds that lie in none of the segments, if `least` seconds long."""
    ordered = segments[segments[:, 0].argsort()]
    reached = torch.cat([torch.zeros(1), ordered[:, 1].cummax(0).values])
    gaps = torch.stack([reached, torch.cat([ordered[:, 0], torch.tensor([duration])])], dim=1)
    return gaps[gaps[:, 1] - gaps[:, 0] >= least]
