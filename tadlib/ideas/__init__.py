"""Methods of the research log that are off by default: one file each, with its question, its code and its hooks.

A file may have any of these functions. They get parameters by their names, or gathered in a dataclass, and answer
nothing where the idea is off. In the detector and its training:

    additions(...)         -> list of `Addition`: layers, losses and scores added to the detector
    parts(...)             -> dict of arguments of the network that replace a part of it
    network(...)           -> a class in place of `ConditionalDETR`
    loss(...)              -> a class in place of `DetectionLoss`
    each_batch(windows, ...) -> a map of training batches

In naming:

    texts(data, classes, ...) -> class texts (k, c) that the detector reads
    classifier(found, data, ...) -> the `Classifier` with another pooling, head, similarity, or other texts
    proposals(found, data, classifier_of, ...) -> other proposals: more, fewer, or with other scores

An idea of your own needs no file here: hand its objects to the same arguments, or name a file of yours, with hooks such
as these, by the parameter `ideas`.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor, nn

from tadlib.data.batches import Batch, WindowSet
from tadlib.data.checks import nearest
from tadlib.detector.additions import Addition
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import Proposals
from tadlib.ideas import (
    class_targets,
    dot_product,
    ensemble,
    episodes,
    ordered,
    poolings,
    positions,
    published,
    quality,
    rectifying,
    rejection,
    reranking,
    salience,
    segmentation,
    snippet_groups,
    surroundings,
    text_fusion,
    text_queries,
    trained_naming,
    transfer,
)
from tadlib.naming.classifier import Classifier, Classify, Logits
from tadlib.naming.similarity import scale_of
from tadlib.project import resolve
from tadlib.task import Task

# in the order in which additions join the network, which is that in which their first weights are drawn
MODULES = (
    *(class_targets, salience, rectifying, quality, text_fusion, segmentation),
    *(positions, episodes, published),
)
# in the order in which they change the classifier: what is compared, then how segments are pooled
CLASSIFIERS = (dot_product.classifier, trained_naming.classifier, transfer.classifier, surroundings.classifier)
CLASSIFIERS += (poolings.classifier, ordered.classifier, text_queries.classifier, trained_naming.learned_pooling)
HOOKS = ("additions", "parts", "network", "loss", "each_batch", "texts", "classifier", "proposals")
# words at which proposals are named, or sorted out, by others than the notebook's own way to classify
OTHERS_NAME = {"target": "foreground", "reject": "none", "proposed_by": "detector"}
PROPOSALS = (snippet_groups.proposals, rejection.proposals, reranking.proposals)


def additions(params: object) -> list[Addition]:
    """What the parameters add to the detector."""
    return [part for parts in asked("additions", params) for part in parts]


def parts(params: object) -> dict[str, Any]:
    """The arguments of the network by which the parameters replace parts of it."""
    return {name: part for parts in asked("parts", params) for name, part in parts.items()}


def network(params: object) -> type[ConditionalDETR]:
    """The class of network that the parameters ask for."""
    return _one("network", asked("network", params), ConditionalDETR)


def loss(params: object) -> type[DetectionLoss]:
    """The class of loss that the parameters ask for."""
    return _one("loss", asked("loss", params), DetectionLoss)


def each_batch(windows: WindowSet, params: object) -> Callable[[Batch, Any], Batch] | None:
    """The map of training batches that the parameters ask for."""
    return _one("each_batch", asked("each_batch", params, windows=windows), None)


def _one(hook: str, answers: Sequence[Any], otherwise: Any) -> Any:
    """The answer to a hook that can have but one; raises ValueError where two ideas that are on replace the same."""
    if len(answers) > 1:
        raise ValueError(
            f"{len(answers)} methods that are switched on replace the same part of training ({hook}): "
            "switch one off, among them perhaps the one of your own file of ideas"
        )
    return answers[0] if answers else otherwise


def texts(data: Task, classes: Sequence[str], params: object) -> Tensor | None:
    """The texts (k, c) of classes as the detector reads them; None for a detector that does nothing with text."""
    return next(iter(asked("texts", params, data=data, classes=classes)), None)


def plain_classifier(data: Task, classes: Sequence[str], params: object) -> Classifier:
    """CLIP as it is: RoIAlign, the mean of the bins, cosine with the text of each class."""
    scale = scale_of(data.encoder.logit_scale, params.logit_scale) / params.temperature
    return Classifier(tuple(classes), data.class_embeddings, data.text_embeddings, scale, params.roi_bins)


def classifier(data: Task, classes: Sequence[str], params: object) -> Classifier:
    """CLIP as the parameters ask for it, to name segments among classes; its logits come in the order of `classes`."""
    found = plain_classifier(data, classes, params)
    for change in (*CLASSIFIERS, *own_hooks("classifier", params)):
        found = call(change, params, found=found, data=data) or found
    return found


def proposals(found: Mapping[str, Proposals], data: Task, params: object) -> Mapping[str, Proposals]:
    """The proposals that are named, as the parameters ask for it."""
    for change in (*PROPOSALS, *own_hooks("proposals", params)):
        given = {"found": found, "data": data, "classifier_of": lambda classes: classifier(data, classes, params)}
        changed = call(change, params, **given)
        if changed is not None and changed.keys() != found.keys():
            raise ValueError(f"proposals in {inspect.getfile(change)} must return proposals of every video")
        found = changed or found
    return found


def classify(data: Task, params: object) -> Classify:
    """A function of a video and segments (n, 2) of it in seconds: their logits (n, k) for the classes that compete."""
    return on_segments(classifier(data, data.competing, params), data)


def in_place_of(classify: Classify, data: Task, params: object) -> Classify:
    """The given way to classify segments, or where parameters switch on another one that one; a line says which."""
    plain, changed = plain_classifier(data, data.competing, params), classifier(data, data.competing, params)
    told = [word for word, usual in OTHERS_NAME.items() if getattr(params, word) != usual]
    for word in [*told, *(["keep"] if params.keep == "class_video" else [])]:
        print(f"{word}={getattr(params, word)} does not ask `classify` as it stands above, but as the parameters do")
    if changed == plain:
        return classify
    differ = [each.name for each in fields(plain) if getattr(plain, each.name) != getattr(changed, each.name)]
    print(f"parameters ask for another way to classify segments than the lines above: {', '.join(differ)}")
    return on_segments(changed, data)


def logits(classify: Classify, data: Task, params: object) -> Logits:
    """A function of a video and proposals in it: logits (n, k) for the classes that compete.

    They are those of `classify` for their segments. A detector that classifies has logits of its own; with
    `ensemble` they are averaged with those of CLIP, and those of what is trained with those of frozen CLIP. A learned
    background has a column beyond the classes.
    """
    by_clip = second = on_proposals(classify)
    scale = plain_classifier(data, (), params).scale
    own = class_targets.logits(data, params.target, params.similarity, scale) or by_clip
    if params.ensemble == "none":
        return own
    if own is by_clip:
        frozen = trained_naming.frozen(params.pooling)
        if all(getattr(params, word) == value for word, value in frozen.items()):
            return own  # nothing is trained
        plain = SimpleNamespace(**dict(params) | frozen)
        second = on_proposals(on_segments(classifier(data, data.competing, plain), data))
    return ensemble.both(own, second, len(data.competing), params.ensemble, params.ensemble_weight)


def on_proposals(classify: Classify) -> Logits:
    """A classifier that is asked about proposals of a video."""
    return lambda video, found: classify(video, found.segments)


def on_segments(classify: Classifier, data: Task) -> Classify:
    """A classifier that is asked about segments (n, 2) of a video in seconds."""
    return lambda video, segments: classify(data.features(video), data.grid(video).snippets(segments.float()))


def whole_videos(data: Task, video_ids: Iterable[str], params: object) -> dict[str, Tensor]:
    """CLIP's logits of whole videos for the classes that compete."""
    clip, videos = classifier(data, data.competing, params), {video.id: video for video in data.scored}
    return {video_id: clip.video_logits(data.features(videos[video_id])) for video_id in video_ids}


def asked(hook: str, params: object, **given: Any) -> list[Any]:
    """What the ideas answer to a hook, of those that are on; `params` has the parameters as attributes."""
    hooks = [getattr(module, hook) for module in MODULES if hasattr(module, hook)] + own_hooks(hook, params)
    answers = [call(each, params, **given) for each in hooks]
    return [answer for answer in answers if answer is not None and not (isinstance(answer, list | dict) and not answer)]


def call(function: Callable[..., Any], params: object, **given: Any) -> Any:
    """What a function answers, given what it names of `given`, and parameters: by name, or gathered in a dataclass."""
    words = {}
    for name, argument in inspect.signature(function, eval_str=True).parameters.items():
        if name in given:
            words[name] = given[name]
        elif is_dataclass(argument.annotation):
            names = [each.name for each in fields(argument.annotation) if hasattr(params, each.name)]
            words[name] = argument.annotation(**{each: getattr(params, each) for each in names})
        elif hasattr(params, name):
            words[name] = getattr(params, name)
        elif argument.default is argument.empty:
            known = [*given, *dict(params)]
            raise ValueError(
                f"{function.__name__} in {inspect.getfile(function)} asks for {name!r}{nearest(name, known)}"
            )
    try:
        return function(**words)
    except Exception as error:
        error.add_note(f"raised by {function.__name__} in {inspect.getfile(function)}")
        raise


def own_hooks(hook: str, params: object) -> list[Callable[..., Any]]:
    """A hook of the file that the parameter `ideas` names, or nothing."""
    module = own_module(resolve(params.ideas)) if getattr(params, "ideas", "") else None
    return [getattr(module, hook)] if hasattr(module, hook) else []


def own_module(path: Path) -> ModuleType:
    """A file of methods of your own, run anew where it changed; raises ValueError for one that cannot be read so."""
    if not path.is_file():
        raise ValueError(f"ideas={path} is no file: it must be a Python file with hooks as those of tadlib/ideas")
    return _loaded(path, path.stat().st_mtime_ns)


@cache
def _loaded(path: Path, _changed: int) -> ModuleType:
    spec = spec_from_file_location(f"ideas of {path}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"ideas={path} must be a Python file, with the ending .py")
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a reader's file raises
        raise ValueError(f"ideas={path} cannot be imported: {type(error).__name__}: {error}") from error
    if not any(hasattr(module, hook) for hook in HOOKS):
        raise ValueError(f"ideas={path} has none of the hooks {', '.join(HOOKS)}")
    return module


def classes(params: object = None) -> dict[str, type[nn.Module]]:
    """The modules that ideas put into a detector, by the names under which checkpoints keep them."""
    modules = [*MODULES, *([own_module(resolve(params.ideas))] if getattr(params, "ideas", "") else [])]
    found = (value for module in modules for value in vars(module).values() if isinstance(value, type))
    return {value.__name__: value for value in found if issubclass(value, nn.Module)}
