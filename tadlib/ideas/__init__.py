"""Methods of the research log that are off by default: one file each, with its question, code and hooks.

A file may define any of the functions below (hooks). Their arguments are parameters, passed by name or gathered in a
dataclass; they return None or an empty value if the method is off. In the detector and its training:

    additions(...)         -> list of `Addition`: layers, losses and scores added to the detector
    parts(...)             -> dict of arguments of the network that replace a part of it
    network(...)           -> a class in place of `ConditionalDETR`
    loss(...)              -> a class in place of `DetectionLoss`
    each_batch(windows, ...) -> a function from training batch to training batch
    texts(data, classes, ...) -> class texts (k, c) that the detector reads

In naming:

    classifier(found, data, ...) -> the `Classifier` with another pooling, head, similarity, or other texts
    proposals(found, data, classifier_of, ...) -> changed proposals: more, fewer, or with other scores

An idea of your own needs no file here: pass its objects to the same arguments, or name a file with such hooks in the
parameter `ideas`.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
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
    trained_naming,
    transfer,
)
from tadlib.naming.classifier import Classifier, Classify, Logits
from tadlib.naming.similarity import scale_of
from tadlib.project import resolve
from tadlib.task import Task

# in the order in which additions join the network and draw their initial weights, and in which classifiers and
# proposals are changed: the compared embeddings first, then the pooling
MODULES = (class_targets, salience, rectifying, quality, text_fusion, segmentation, positions, episodes, published)
MODULES += (dot_product, trained_naming, transfer, surroundings, poolings, snippet_groups, rejection, reranking)
HOOKS = {  # the functions of a file of ideas -> what they get beside parameters
    **dict.fromkeys(("additions", "parts", "network", "loss"), ()),
    "each_batch": ("windows",),
    "texts": ("data", "classes"),
    "classifier": ("found", "data"),
    "proposals": ("found", "data", "classifier_of"),
}
# parameters, with their defaults, that replace the notebook's own `classify`
CLASSIFYING_DEFAULTS = {"target": "foreground", "reject": "none", "proposed_by": "detector"}


def additions(params: object) -> list[Addition]:
    """Return the additions to the detector that the parameters switch on."""
    return [part for parts in asked("additions", params) for part in parts]


def parts(params: object) -> dict[str, Any]:
    """Return the arguments that replace parts of the network, as the parameters ask."""
    return {name: part for parts in asked("parts", params) for name, part in parts.items()}


def network(params: object) -> type[ConditionalDETR]:
    """Return the network class that the parameters ask for."""
    return _only("network", params) or ConditionalDETR


def loss(params: object) -> type[DetectionLoss]:
    """Return the loss class that the parameters ask for."""
    return _only("loss", params) or DetectionLoss


def each_batch(windows: WindowSet, params: object) -> Callable[[Batch, Any], Batch] | None:
    """Return the function on training batches that the parameters ask for, or None."""
    return _only("each_batch", params, windows=windows)


def _only(hook: str, params: object, **given: Any) -> Any:
    """Return the only answer to a hook, or None; raise ValueError if two methods replace the same part."""
    answers = asked(hook, params, **given)
    if len(answers) > 1:
        same = f"replace the same part of training ({hook})"
        raise ValueError(f"{len(answers)} methods that are switched on {same}: keep one")
    return answers[0] if answers else None


def texts(data: Task, classes: Sequence[str], params: object) -> Tensor | None:
    """Return class texts (k, c) for the detector; None for a detector that reads no text."""
    return next(iter(asked("texts", params, data=data, classes=classes)), None)


def plain_classifier(data: Task, classes: Sequence[str], params: object) -> Classifier:
    """Plain CLIP classifier: RoIAlign, mean of the bins, cosine with the text of each class."""
    scale = scale_of(data.encoder.logit_scale, params.logit_scale) / params.temperature
    return Classifier(tuple(classes), data.class_embeddings, data.text_embeddings, scale, params.roi_bins)


def classifier(data: Task, classes: Sequence[str], params: object) -> Classifier:
    """Return the classifier that the parameters ask for; its logits are in the order of `classes`."""
    found = plain_classifier(data, classes, params)
    for change in hooks("classifier", params):
        found = call(change, params, found=found, data=data) or found
    return found


def proposals(found: Mapping[str, Proposals], data: Task, params: object) -> Mapping[str, Proposals]:
    """Return the proposals to be classified, after the hooks that change them."""
    given = {"data": data, "classifier_of": lambda classes: classifier(data, classes, params)}
    for change in hooks("proposals", params):
        changed = call(change, params, found=found, **given)
        if changed is not None and (not isinstance(changed, Mapping) or changed.keys() != found.keys()):
            raise ValueError(f"proposals in {inspect.getfile(change)} must return proposals of every video")
        found = found if changed is None else changed
    return found


def classify(data: Task, params: object) -> Classify:
    """Return a function of a video and segments (n, 2) in seconds that gives logits (n, k) of candidate classes."""
    return on_segments(classifier(data, data.competing, params), data)


def chosen_classifier(classify: Classify, data: Task, params: object) -> Classify:
    """Return `classify`, or the classifier that parameters switch on instead, and print which."""
    plain, changed = plain_classifier(data, data.competing, params), classifier(data, data.competing, params)
    changed_words = [word for word, usual in CLASSIFYING_DEFAULTS.items() if getattr(params, word) != usual]
    for word in [*changed_words, *(["keep"] if params.keep == "class_video" else [])]:
        print(f"{word}={getattr(params, word)} replaces `classify` above by what the parameters say")
    if changed == plain:
        return classify
    differing = [each.name for each in fields(plain) if getattr(plain, each.name) != getattr(changed, each.name)]
    print(f"parameters change the classifier of the lines above: {', '.join(differing)}")
    return on_segments(changed, data)


def logits(classify: Classify, data: Task, params: object) -> Logits:
    """Return a function of a video and its proposals that gives logits (n, k) for the candidate classes.

    By default these are the logits of `classify`. A detector that classifies gives its own. `ensemble` averages them
    with those of CLIP, or the logits of a trained head with those of frozen CLIP. A learned background is an extra
    column.
    """
    by_clip = on_proposals(classify)
    own = class_targets.logits(data, params.target, params.similarity, plain_classifier(data, (), params).scale)
    frozen = trained_naming.frozen(params.pooling)
    nothing_trained = all(getattr(params, word) == value for word, value in frozen.items())
    if params.ensemble == "none" or (own is None and nothing_trained):
        return own or by_clip
    if own is None:
        plain = classifier(data, data.competing, SimpleNamespace(**vars(params) | frozen))
        own, by_clip = by_clip, on_proposals(on_segments(plain, data))
    return ensemble.both(own, by_clip, len(data.competing), params.ensemble, params.ensemble_weight)


def on_proposals(classify: Classify) -> Logits:
    """Wrap a classifier of segments so that it takes the proposals of a video."""
    return lambda video, found: classify(video, found.segments)


def on_segments(classify: Classifier, data: Task) -> Classify:
    """Wrap a classifier so that it takes segments (n, 2) of a video in seconds."""
    return lambda video, segments: classify(data.features(video), data.grid(video).snippets(segments.float()))


def whole_videos(data: Task, video_ids: Iterable[str], params: object) -> dict[str, Tensor]:
    """Return CLIP logits of whole videos for the candidate classes."""
    clip, videos = classifier(data, data.competing, params), {video.id: video for video in data.scored}
    return {video_id: clip.video_logits(data.features(videos[video_id])) for video_id in video_ids}


def asked(hook: str, params: object, **given: Any) -> list[Any]:
    """Return what each switched-on method returns from a hook; `params` has the parameters as attributes."""
    answers = [call(each, params, **given) for each in hooks(hook, params)]
    return [answer for answer in answers if answer is not None and not (isinstance(answer, list | dict) and not answer)]


def hooks(hook: str, params: object) -> list[Callable[..., Any]]:
    """Return the functions of a hook, the last one that of the file in the parameter `ideas`."""
    return [getattr(module, hook) for module in modules(params) if hasattr(module, hook)]


def modules(params: object) -> list[ModuleType]:
    """Return the modules of all methods, with the file in the parameter `ideas`."""
    own = getattr(params, "ideas", "")
    return [*MODULES, *([own_module(resolve(own))] if own else [])]


def call(function: Callable[..., Any], params: object, **given: Any) -> Any:
    """Call a function with the arguments in its signature, from `given` or parameters (singly or in a dataclass)."""
    arguments, known = {}, vars(params) | given
    for name, argument in inspect.signature(function, eval_str=True).parameters.items():
        if name in known:
            arguments[name] = known[name]
        elif is_dataclass(argument.annotation):
            names = [each.name for each in fields(argument.annotation) if each.name in known]
            arguments[name] = argument.annotation(**{each: known[each] for each in names})
    try:
        return function(**arguments)
    except Exception as error:
        error.add_note(f"raised by {function.__name__} in {inspect.getfile(function)}")
        raise


def check_own(path: Path, parameters: Iterable[str]) -> None:
    """Import a user's file of methods; raise ValueError if that fails, or for an unknown argument of a hook."""
    module = own_module(path)
    for hook, given in HOOKS.items():
        function, known = getattr(module, hook, None), (*given, *parameters)
        for name, argument in (inspect.signature(function, eval_str=True).parameters if function else {}).items():
            if name not in known and argument.default is argument.empty and not is_dataclass(argument.annotation):
                raise ValueError(f"ideas={path}: {hook} asks for {name!r}{nearest(name, known)}")


def own_module(path: Path) -> ModuleType:
    """Import a user's file of methods, again if it has changed; raise ValueError if that fails."""
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"ideas={path} must be an existing Python file (.py) with hooks as those of tadlib/ideas")
    return _loaded(path, path.stat().st_mtime_ns)


@cache
def _loaded(path: Path, _changed: int) -> ModuleType:
    spec = spec_from_file_location(f"ideas of {path}", path)
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        raise ValueError(f"ideas={path} cannot be imported: {type(error).__name__}: {error}") from error
    for name, value in vars(module).items():
        own = inspect.isfunction(value) and value.__module__ == spec.name and not name.startswith("_")
        if own and name not in HOOKS and (close := get_close_matches(name, HOOKS, n=1, cutoff=0.75)):
            raise ValueError(f"ideas={path}: {name} is no hook; did you mean {close[0]!r}? (a helper begins with _)")
    if not any(hasattr(module, hook) for hook in HOOKS):
        raise ValueError(f"ideas={path} has none of the hooks {', '.join(HOOKS)}")
    return module


def classes(params: object = None) -> dict[str, type[nn.Module]]:
    """Return the module classes that ideas may put into a detector, by the names in checkpoints."""
    found = (value for module in modules(params) for value in vars(module).values() if isinstance(value, type))
    return {value.__name__: value for value in found if issubclass(value, nn.Module)}
