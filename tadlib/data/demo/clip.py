"""The demo's small CLIP: open_clip's own model, tokenizer and loss, trained on fresh drawings and captions.

Like the real one it has seen all twenty actions as pictures, with captions as careless as the web's: half of those of
an action are in other words than its class's name, and pictures in which nothing happens are often captioned with the
sport. So the scene alone suggests the class, and thresholding similarity finds the scene, not the action.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from tadlib.data.demo.performances import CLASSES
from tadlib.data.demo.sayings import SAYINGS
from tadlib.data.demo.timelines import beside
from tadlib.data.demo.videos import sample_frames
from tadlib.data.demo.workers import pool, without_script
from tadlib.data.encoder import DEMO, import_open_clip, load_encoder, spoken
from tadlib.devices import seed_all
from tadlib.files import Progress, atomic, silent, write_json

STEPS, LOOKS, LR = 600, 2400, 2e-3
PER_BATCH, PER_LOOK = 16, 4  # looks in a batch, pictures of each
LEAK = 0.05  # share of pictures without an action whose caption names the sport as if there were one
AWARE = 0.7  # share of them whose caption names the sport and says that nothing happens
DURING = (
    "a video of a person doing {}", "a person doing {}", "action shot of {}", "in the middle of {}",
    "an athlete in action, {}", "live action: {}", "{}",
)  # fmt: skip
OTHER_WORDS = 0.5  # share of the captions of an action that do not name it
LEAKS_OTHER_WORDS = 0.03  # share of captions that say so of a picture without an action
LEAKS = ("a {} video", "a photo of {}", "{}", "{} today")
BETWEEN = ("waiting before {}", "a break between two {}", "nothing happens yet at {}", "warming up for {}", "after {}")
MISTAKEN = 0.3  # share of captions that name a similar sport instead
SIMILAR = (
    ("CricketBowling", "CricketShot"),
    ("Diving", "CliffDiving"),
    ("HammerThrow", "ThrowDiscus", "Shotput", "JavelinThrow"),
    ("HighJump", "LongJump", "PoleVault"),
    ("BaseballPitch", "SoccerPenalty", "FrisbeeCatch"),
    ("BasketballDunk", "VolleyballSpiking", "TennisSwing"),
)
SHOT_NAMED = 0.3  # share of captions that say how a picture was taken
SHOTS = {"wide": ", a wide shot", "close": ", a close-up", "panning": ", panning with blurred background"}
NEUTRAL = {
    "idle": ("an athlete getting ready", "a person about to start"),
    "empty": ("an empty place", "nobody is here", "an empty sports ground"),
    "passer-by": ("a man walking past", "somebody crosses the picture"),
    "stand": ("a person standing", "an athlete waiting"),
    "wait": ("a person crouching", "an athlete waiting"),
    "stretch": ("a person stretching", "an athlete warming up"),
    "walk": ("a person walking", "an athlete walking around"),
    "jog": ("a person jogging", "an athlete running slowly"),
    "wave": ("a person waving", "an athlete greets the crowd"),
    "bow": ("a person bowing", "a person looks at the ground"),
}


def caption(rng: np.random.Generator, label: str, activity: str, camera: str) -> str:
    """What the web might write under a picture: now and then of a similar sport, or how it was taken as well."""
    similar = beside(SIMILAR, label)
    if similar and rng.random() < MISTAKEN:
        label = similar[rng.integers(len(similar))]
    said = _said(rng, label, activity)
    return said + SHOTS[camera] if rng.random() < SHOT_NAMED else said


def _said(rng: np.random.Generator, label: str, activity: str) -> str:
    if rng.random() < (OTHER_WORDS if activity == "action" else LEAKS_OTHER_WORDS):
        return SAYINGS[label][rng.integers(len(SAYINGS[label]))]
    if activity == "action":
        return DURING[rng.integers(len(DURING))].format(spoken(label))
    chance = rng.random()
    if chance < LEAK + AWARE:
        texts = LEAKS if chance < LEAK else BETWEEN
        return texts[rng.integers(len(texts))].format(spoken(label))
    texts = NEUTRAL[activity]
    return texts[rng.integers(len(texts))]


def make(
    folder: Path | str, seed: int = 0, progress: Progress = silent, steps: int = STEPS, looks: int = LOOKS
) -> Path:
    """Train the small CLIP where `folder/clip.pt` is missing, on pictures of `looks` looks; returns its path."""
    path = Path(folder) / "clip.pt"
    if path.is_file():
        return path
    frames, shown = _pictures(seed, looks, progress)
    open_clip = import_open_clip()

    seed_all(seed)
    encoder = load_encoder(DEMO, "", torch.device("cpu"))
    model = encoder.model.train().requires_grad_(True)
    pictures = torch.stack([encoder.preprocess(Image.fromarray(frame)) for frame in frames])
    rng = np.random.default_rng(seed)
    led_by = [CLASSES.index(label) for label, *_ in shown[::PER_LOOK]]
    by_class = [np.flatnonzero(np.array(led_by) == place) for place in range(len(CLASSES))]
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.1, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.1)
    loss_of = open_clip.ClipLoss()
    losses = []
    for step in range(steps):
        # pictures of one look side by side: telling them apart takes what happens in them, not the scene;
        # looks of different classes, because captions of one class would fit the pictures of another look as well
        looks = [rng.choice(by_class[place]) for place in rng.choice(len(CLASSES), PER_BATCH, replace=False)]
        chosen = (np.array(looks)[:, None] * PER_LOOK + np.arange(PER_LOOK)).ravel()
        tokens = encoder.tokenizer([caption(rng, *shown[index]) for index in chosen])
        image = functional.normalize(model.encode_image(pictures[chosen]), dim=-1)
        text = functional.normalize(model.encode_text(tokens), dim=-1)
        loss = loss_of(image, text, model.logit_scale.exp())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        losses.append(loss.item())
        progress(step + 1, steps, f"training the demo's small CLIP, loss {np.mean(losses[-20:]):.2f}")
    with atomic(path) as temporary:
        torch.save(model.state_dict(), temporary)
    write_json(path.with_suffix(".json"), {"seed": seed, "steps": steps, "losses": losses})
    return path


def _pictures(seed: int, looks: int, progress: Progress) -> tuple[np.ndarray, list[tuple[str, str, str]]]:
    """The training pictures, drawn by several processes; the same whatever their number."""
    chunks = 40
    parts = []
    seeds = range(1000 * (seed + 1), 1000 * (seed + 1) + chunks)
    with pool() as workers:
        with without_script():
            drawn = workers.map(sample_frames, seeds, [looks // chunks] * chunks, [PER_LOOK] * chunks)
        for part in drawn:
            parts.append(part)
            progress(len(parts), chunks, "drawing pictures for the demo's small CLIP")
    return np.concatenate([frames for frames, _ in parts]), [row for _, rows in parts for row in rows]
