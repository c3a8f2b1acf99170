"""The training set in the place of the test set: what the detector learned from, scored by the same evaluation."""

from dataclasses import replace

from tadlib.workbook.steps.data import Data


def on_training(data: Data) -> Data:
    """The same data with the videos that the detector learned from in the place of the test videos.

    Seen classes take the place of unseen ones: they alone count and compete, as in a closed set. Held-out videos are
    not among them, and annotations are those of the file. Actions of unseen classes in these videos are no targets, and
    a detection there is false, as it is in the test for those of seen classes.
    """
    classes = replace(data.classes, unseen=data.classes.seen)
    return replace(data, classes=classes, evaluate_on="training", same_as=data.fingerprint)
