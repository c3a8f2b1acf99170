"""The demo's small CLIP: open_clip's model, tokenizer and loss, trained on newly drawn frames and captions.

Like the real CLIP it was trained on pictures of all twenty actions with noisy captions: most name the sport or a
similar one, whether or not its action is visible, half of these in other words than the class name; many describe
the posture, which is the same in an action and in its practice.

The weights are in the package. `python -m tadlib.data.demo.clip FILE` trains them again, in ten minutes on one core.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from tadlib.data.demo.performances import CLASSES
from tadlib.data.demo.sayings import SAYINGS
from tadlib.data.demo.timelines import PARTNERS, beside
from tadlib.data.demo.videos import pool, sample_frames, without_script
from tadlib.data.encoder import DEMO, import_open_clip, load_encoder, spoken
from tadlib.devices import seed_all
from tadlib.files import Progress, atomic, silent

STEPS, LOOKS, LR = 4000, 8000, 2e-3
PER_BATCH, PER_LOOK = 16, 4  # looks in a batch, and pictures of each look
NAMES_SPORT, OTHER_WORDS = 0.7, 0.5  # shares of captions that name the sport, and of those in other words
OWN_SPORT = 3.0  # how many times as often as each similar sport the picture's own sport is named
SIMILAR = (
    *PARTNERS,
    ("Diving", "CliffDiving"),
    ("BaseballPitch", "SoccerPenalty", "FrisbeeCatch"),
    ("BasketballDunk", "VolleyballSpiking", "TennisSwing"),
)
DURING = (
    "a video of a person doing {}", "a person doing {}", "action shot of {}", "in the middle of {}",
    "an athlete in action, {}", "live action: {}", "{}",
)  # fmt: skip
PHOTOS = ("a {} video", "a photo of {}", "{}", "{} today")
AS_PHOTO = 0.3  # share of captions with the class name that describe a picture
SHOT_NAMED = 0.3  # share of captions that name the camera shot
SHOTS = {"wide": ", a wide shot", "close": ", a close-up", "panning": ", panning with blurred background"}
NEUTRAL = {
    "empty": ("an empty place", "nobody is here", "an empty sports ground"),
    "passer-by": ("a man walking past", "somebody crosses the picture"),
    "stand": ("a person standing", "an athlete waiting"), "wait": ("a person crouching", "an athlete waiting"),
    "stretch": ("a person stretching", "an athlete warming up"),
    "walk": ("a person walking", "an athlete walking around"),
    "jog": ("a person jogging", "an athlete running slowly"),
    "wave": ("a person waving", "an athlete greets the crowd"),
    "bow": ("a person bowing", "a person looks at the ground"),
}  # fmt: skip
POSTURE = 0.8  # share of captions of a sport that describe the posture
POSTURES = {
    "stand": "standing upright", "run1": "running", "run2": "running", "crouch": "knees bent", "squat": "squatting",
    "kick_lift": "one leg lifted", "back_arm": "arm drawn back", "throw": "arm stretched forward",
    "follow": "bent forward", "one_up": "one arm up", "land": "landing", "aim": "leaning over", "pull": "bent down",
    "rack": "elbows up", "lunge": "one foot forward", "reach_up": "both arms up", "straight": "body straight",
    "tuck": "curled up in the air", "pike": "folded in the air", "flight": "flying through the air",
    "arch": "back arched in the air", "sit": "sitting", "walk1": "walking", "bat_ready": "knees bent",
    "bat_back": "arm drawn back", "bat_hit": "arm stretched forward", "bat_over": "both arms up",
    "club_down": "bent forward", "club_back": "arm drawn back", "club_over": "both arms up", "spin_a": "turning",
    "spin_b": "turning", "shot_ready": "leaning back", "shot_push": "arm stretched forward",
}  # fmt: skip


def caption(rng: np.random.Generator, label: str, activity: str, camera: str, pose: str) -> str:
    """Draw a random caption as on the web: the sport, even if its action is not visible, or a posture or activity."""
    similar = beside(SIMILAR, label)
    if rng.random() < len(similar) / (len(similar) + OWN_SPORT):
        label = similar[rng.integers(len(similar))]
    if rng.random() < NAMES_SPORT:
        if rng.random() < OTHER_WORDS:
            texts = SAYINGS[label]
        else:
            texts = PHOTOS if rng.random() < AS_PHOTO else DURING
        text = texts[rng.integers(len(texts))].format(spoken(label))
        if pose and rng.random() < POSTURE:
            text += f", {POSTURES[pose]}"
    elif pose:
        text = f"a person {POSTURES[pose]}"
    else:
        text = NEUTRAL[activity][rng.integers(len(NEUTRAL[activity]))]
    return text + SHOTS[camera] if rng.random() < SHOT_NAMED else text


def train(path: Path | str, seed: int = 0, progress: Progress = silent, steps: int = STEPS, looks: int = LOOKS) -> None:
    """Train the small CLIP on pictures of `looks` looks and write its weights, float16, to an .npz file.

    The embeddings of tokens that appear in no caption are set to zero, so that the file is small.
    """
    frames, shown = _pictures(seed, looks, progress)
    loss_of = import_open_clip().ClipLoss()
    seed_all(seed)
    encoder = load_encoder(DEMO, "", torch.device("cpu"))
    model = encoder.model.train().requires_grad_(True)
    pictures = torch.stack([encoder.preprocess(Image.fromarray(frame)) for frame in frames])
    rng = np.random.default_rng(seed)
    look_class = np.array([CLASSES.index(label) for label, *_ in shown[::PER_LOOK]])
    by_class = [np.flatnonzero(look_class == place) for place in range(len(CLASSES))]
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.1, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.1)
    used = torch.zeros(model.token_embedding.num_embeddings, dtype=torch.bool)
    losses = []
    for step in range(steps):
        # several pictures of a look: they can only be told apart by their content, not by the scene;
        # looks of different classes: captions of the same class would fit the pictures of several looks
        looks = [rng.choice(by_class[place]) for place in rng.choice(len(CLASSES), PER_BATCH, replace=False)]
        chosen = (np.array(looks)[:, None] * PER_LOOK + np.arange(PER_LOOK)).ravel()
        tokens = encoder.tokenizer([caption(rng, *shown[index]) for index in chosen])
        used[tokens.flatten()] = True
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
    with torch.no_grad():
        model.token_embedding.weight[~used] = 0
    with atomic(Path(path)) as temporary, open(temporary, "wb") as file:
        weights = {name: each.half() if each.is_floating_point() else each for name, each in model.state_dict().items()}
        np.savez_compressed(file, **{name: each.numpy() for name, each in weights.items()})


def _pictures(seed: int, looks: int, progress: Progress) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Draw the training pictures in several processes, whose number does not change the result."""
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


if __name__ == "__main__":
    train(sys.argv[1], progress=lambda done, total, text: print(f"{done} of {total}, {text}", flush=True))
