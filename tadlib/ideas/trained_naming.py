"""Classifier parts trained once on seen classes and cached: heads, learned context, background, matching, mask.

The question files `heads_*`, `text_heads`, `context`, `background`, `matching`, `mask_pooling`, `head_*` and
`hard_negatives` measure each of them. (entries 40, 44, 47, 52 to 66 and 68)
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.data.windows import spans
from tadlib.files import digest
from tadlib.ideas import head_training
from tadlib.ideas.head_losses import BACKGROUND, Examples, adjacent, repeated_near
from tadlib.ideas.head_training import ClassTexts, HeadTraining, NamingHead
from tadlib.naming.classifier import Classifier
from tadlib.naming.similarity import scale_of
from tadlib.naming.text import TextEmbeddings, texts_of
from tadlib.segments import roi_align
from tadlib.task import Task
from tadlib.tensors import keep_tensors, usable

MAX_SNIPPETS = 4000  # largest number of training snippets
LEARNED = ("matching_fixed", "matching_learned", "mask")  # poolings that are trained, or that heads are trained with
HERE = Path(__file__).parent
# source files that are part of the key of cached weights
SOURCES = (*sorted(HERE.glob("*.py")), *sorted((HERE.parent / "naming").glob("*.py")), HERE.parent / "segments.py")
# parameter values with which nothing is trained: frozen CLIP
FROZEN = {"head": "none", "text_head": "none", "context": 0, "background": "none", "transfer": "none", "rerank": 0.0}
FROZEN |= {"head_loss": "cross_entropy", "hard_negatives": "none"}  # losses on pairs need a trained part


def frozen(pooling: str) -> dict[str, object]:
    """Parameter values of frozen CLIP with the most similar untrained pooling."""
    return FROZEN | {"pooling": "mean" if pooling in ("matching_learned", "mask") else pooling}


def trained(data: Task, training: HeadTraining) -> NamingHead | None:
    """Return the trained parts, from the cache beside the features if possible; None if nothing is trained."""
    if not training.trained:
        return None
    training = replace(training, factor=scale_of(data.encoder.logit_scale, training.logit_scale))
    path = data.benchmark.cache / "heads" / f"{_key(data, training)}.pt"
    channels = data.store.read(data.training_videos[0].id).shape[1]
    with devices.random_kept(training.seed):
        model = NamingHead(training, channels, data.encoder)
        if (kept := usable(path)) is not None:
            model.load_state_dict(kept)
        else:
            _train(model, data)
            keep_tensors(path, model.state_dict())
    return model.eval().requires_grad_(False)


def _key(data: Task, training: HeadTraining) -> str:
    wanted = asdict(training)
    if training.pooling not in LEARNED:
        del wanted["pooling"]  # one training serves every pooling of frozen CLIP
    made = [path.read_text(encoding="utf-8") for path in SOURCES]  # weights of other code are not reused
    of_data = data.classes.seen, texts_of(data.classes.seen, data.wording), data.ignore_unseen, data.fingerprint
    return digest([wanted, *of_data, torch.__version__, *made])


def _train(model: NamingHead, data: Task) -> None:
    settings = model.settings
    if model.mask is not None:
        snippets, labels = data.training_snippets()
        head_training.fit_mask(model.mask, snippets, labels != BACKGROUND, settings.head_epochs, settings.head_lr)
    if model.rates():
        background = settings.background != "none"
        if settings.head_on == "snippets":
            learn_from = snippet_examples(data, background)
        else:
            learn_from = examples(data, background, settings.roi_bins)
        head_training.fit(model, learn_from, class_texts(data, data.classes.seen))


def class_texts(data: Task, classes: Sequence[str]) -> ClassTexts:
    """Texts of classes and their embeddings from the frozen encoder."""
    return ClassTexts(texts_of(classes, data.wording), data.text_embeddings(classes))


def classifier(found: Classifier, data: Task, training: HeadTraining) -> Classifier | None:
    """Return the classifier with trained heads, and with trained texts if there are any."""
    model = trained(data, training)
    if model is None:
        return None
    found = replace(found, head=model.visual)
    if not training.trains_texts:
        return found

    def steps(classes: Sequence[str]) -> TextEmbeddings:
        read = model.steps(class_texts(data, classes))
        return TextEmbeddings(model.mapped(read), read.padding)

    def embed(classes: Sequence[str]) -> Float[Tensor, "k c"]:
        return model.classes(model.steps(class_texts(data, classes)))

    return replace(found, embed_texts=steps, embed=embed)


def snippet_examples(data: Task, background: bool) -> Examples:
    """Training examples of one snippet each, a random sample: of seen classes, and of background on request."""
    snippets, labels = data.training_snippets()
    rows = torch.arange(len(labels)) if background else (labels != BACKGROUND).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows))[:MAX_SNIPPETS]]
    nothing = snippets.new_zeros(len(rows), 0, 1, snippets.shape[1])
    return Examples(snippets[rows, None], labels[rows], nothing, torch.zeros(len(rows), 0, dtype=torch.bool))


def examples(data: Task, background: bool = False, bins: int = 16) -> Examples:
    """Training examples: bins of true segments of seen classes, with background on request.

    Background is outside of all annotations; with `ignore_unseen` nowhere, outside of seen actions.
    """
    parts, places = [], {label: place for place, label in enumerate(data.classes.seen)}
    for video in data.training_videos:
        segments, labels = spans(video.actions), [places[action.label] for action in video.actions]
        if background:
            gaps = between(spans(data.occupied[video.id]), video.duration, 1 / float(data.grid(video).snippets(1.0)))
            segments, labels = torch.cat([segments, gaps]), labels + [BACKGROUND] * len(gaps)
        own = segment_examples(data, video, segments, torch.tensor(labels), bins)
        parts.append(own._replace(in_video=own.in_video & ~repeated_near(segments, own.labels, video.duration)))
    return Examples(*(torch.cat(field) for field in zip(*parts, strict=True)))


def segment_examples(data: Task, video: Video, segments: Float[Tensor, "n 2"], labels: Tensor, bins: int) -> Examples:
    """Segments (seconds) of a video with their adjacent regions as examples."""
    snippets, segments_ix = data.features(video), data.grid(video).snippets(segments)
    regions, in_video = adjacent(segments_ix, len(snippets))
    found = roi_align(snippets, torch.cat([segments_ix[:, None], regions], dim=1).flatten(0, 1), bins)
    found = found.unflatten(0, (-1, 3))
    return Examples(found[:, 0], labels, found[:, 1:], in_video)


def between(segments: Float[Tensor, "n 2"], duration: float, least: float) -> Float[Tensor, "m 2"]:
    """Gaps between the segments of a video of `duration` seconds, at least `least` seconds long."""
    ordered = segments[segments[:, 0].argsort()]
    reached = torch.cat([torch.zeros(1), ordered[:, 1].cummax(0).values])
    gaps = torch.stack([reached, torch.cat([ordered[:, 0], torch.tensor([duration])])], dim=1)
    return gaps[gaps[:, 1] - gaps[:, 0] >= least]
