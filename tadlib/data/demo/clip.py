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

from tadlib.data.annotations import spoken
from tadlib.data.demo.performances import CLASSES
from tadlib.data.demo.timelines import PARTNERS, beside
from tadlib.data.demo.videos import PER_LOOK, pool, sample_frames, without_script
from tadlib.data.encoder import DEMO, import_open_clip, load_encoder
from tadlib.devices import seed_all
from tadlib.files import Progress, atomic, silent

STEPS, LOOKS, LR = 4000, 8000, 2e-3
PER_BATCH = 16  # looks
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
# captions of the twenty actions without their class names, as people caption pictures
SAYINGS = {
    "BaseballPitch": ("the pitcher throws the ball from the mound", "a man in a cap hurls a fastball",
        "pitching to the batter", "winding up and letting the ball go", "a strike in a baseball game",
        "the pitcher's arm comes over", "a throw to home plate", "a player pitches overarm"),
    "BasketballDunk": ("slamming the ball through the hoop", "a player leaps to the basket", "he dunks it",
        "what a slam dunk", "two points at the rim", "a basketball player jumps and scores",
        "the ball goes down through the net", "flying to the hoop"),
    "Billiards": ("a man shoots pool", "the cue strikes the white ball", "leaning over a green table",
        "potting a ball", "a game of pool in a bar", "taking aim with the cue", "balls roll across the table",
        "a snooker player's shot"),
    "CleanAndJerk": ("lifting a heavy barbell over the head", "a weightlifter pushes the weight up",
        "olympic weightlifting", "the strong man raises the bar", "a lift in the gym",
        "pulling the barbell from the floor", "weights go up to the shoulders", "a woman lifts weights"),
    "CliffDiving": ("jumping off a cliff into the sea", "a man leaps from a high rock",
        "falling down to the water from the rocks", "a brave jump off the cliffs",
        "he dives from the rocks into the ocean", "a diver drops from a cliff", "plunging into the sea",
        "a long fall and a splash in the waves"),
    "CricketBowling": ("the bowler runs in and bowls", "a straight arm delivers the ball at the wicket",
        "a fast ball in cricket", "bowling to the batsman", "a cricketer bowls over the wicket",
        "a spinner's delivery", "he bowls him out", "the bowler lets the ball go"),
    "CricketShot": ("the batsman hits the ball with his bat", "a drive through the covers",
        "batting in front of the wicket", "a cricketer swings the bat", "a six over the ropes",
        "the bat meets the ball", "a batter plays a stroke", "hitting it to the boundary"),
    "Diving": ("jumping into the pool from the board", "a springboard diver turns in the air",
        "head first into the water", "a dive from the platform", "a somersault and a splash",
        "an athlete leaps off the board", "a woman dives into the swimming pool",
        "entering the water without a splash"),
    "FrisbeeCatch": ("catching a flying disc", "a man runs after the frisbee", "she grabs the disc out of the air",
        "ultimate in the park", "the frisbee is caught", "reaching for a plastic disc", "a leap for the frisbee",
        "he catches it with one hand"),
    "GolfSwing": ("hitting a golf ball off the tee", "a golfer swings his club", "a drive down the fairway",
        "teeing off", "the club meets the ball", "a woman plays golf on the green", "a long shot in golf",
        "the golfer follows the ball with his eyes"),
    "HammerThrow": ("spinning round with a ball on a wire", "the hammer flies out of the cage", "throwing the hammer",
        "an athlete turns and lets the wire go", "a heavy ball on a chain is hurled", "hammer thrower in the circle",
        "three turns and the throw", "whirling the hammer around"),
    "HighJump": ("clearing the bar backwards", "an athlete jumps over a bar", "she lands on the mat",
        "a jump with a flop", "over the bar in the stadium", "running a curve and leaping up",
        "a high jumper takes off", "jumping as high as possible"),
    "JavelinThrow": ("throwing a spear across the field", "the javelin flies far", "an athlete hurls a long spear",
        "running up with a javelin on the shoulder", "a thrower lets the spear go", "a javelin thrower's run",
        "the spear lands in the grass", "she throws the javelin"),
    "LongJump": ("leaping into the sand", "an athlete jumps far into the pit", "a sprint and a leap from the board",
        "landing in the sand pit", "a long jumper flies through the air", "jumping as far as possible",
        "feet first into the sand", "the runway and the take-off"),
    "PoleVault": ("swinging up on a long pole", "a vaulter clears the bar",
        "planting the pole and flying over the bar", "she vaults over a very high bar", "the pole bends",
        "an athlete with a pole takes off", "up and over with the pole", "a vaulter falls onto the mat"),
    "Shotput": ("pushing a heavy ball from the neck", "putting the shot", "a strong man pushes an iron ball",
        "the shot leaves the hand", "an athlete in the circle puts the shot", "a metal ball flies a few metres",
        "a shot putter glides and pushes", "the heavy ball lands on the grass"),
    "SoccerPenalty": ("kicking the ball at the goal", "a penalty kick", "the keeper dives, the striker shoots",
        "a footballer scores from the spot", "shooting from eleven metres", "a goal in football",
        "the ball goes into the net", "a player takes a penalty"),
    "TennisSwing": ("hitting the ball over the net with a racket", "a forehand on the tennis court",
        "a backhand down the line", "serving an ace", "a player swings the racket", "returning the ball",
        "a rally in tennis", "the racket strikes a yellow ball"),
    "ThrowDiscus": ("spinning and throwing a discus", "the discus sails away",
        "an athlete turns in the circle with a discus", "a discus thrower at work", "hurling the round plate",
        "he flings the discus far", "a turn and a throw", "the discus leaves her hand"),
    "VolleyballSpiking": ("smashing the ball over the net", "a spike at the net",
        "a player jumps and hits the volleyball", "the attacker smashes", "beach volleyball, a hard hit",
        "she spikes it into the other court", "leaping at the net to strike the ball",
        "a winning smash in volleyball"),
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


def train(path: Path | str, progress: Progress = silent) -> None:
    """Train the small CLIP on pictures of `LOOKS` looks and write its weights, float16, to an .npz file.

    The embeddings of tokens that appear in no caption are set to zero, so that the file is small.
    """
    frames, shown = _pictures(progress)
    loss_of = import_open_clip().ClipLoss()
    seed_all(0)
    encoder = load_encoder(DEMO, "", torch.device("cpu"))
    model = encoder.model.train().requires_grad_(True)
    pictures = torch.stack([encoder.preprocess(Image.fromarray(frame)) for frame in frames])
    rng = np.random.default_rng(0)
    look_class = np.array([CLASSES.index(label) for label, *_ in shown[::PER_LOOK]])
    by_class = [np.flatnonzero(look_class == place) for place in range(len(CLASSES))]
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.1, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=STEPS, pct_start=0.1)
    used = torch.zeros(model.token_embedding.num_embeddings, dtype=torch.bool)
    losses = []
    for step in range(STEPS):
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
        progress(step + 1, STEPS, f"training the demo's small CLIP, loss {np.mean(losses[-20:]):.2f}")
    with torch.no_grad():
        model.token_embedding.weight[~used] = 0
    with atomic(Path(path)) as temporary, open(temporary, "wb") as file:
        weights = {name: each.half() if each.is_floating_point() else each for name, each in model.state_dict().items()}
        np.savez_compressed(file, **{name: each.numpy() for name, each in weights.items()})


def _pictures(progress: Progress) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Draw the training pictures in several processes, whose number does not change the result."""
    chunks, parts = 40, []
    with pool() as workers:
        with without_script():
            drawn = workers.map(sample_frames, range(1000, 1000 + chunks), [LOOKS // chunks] * chunks)
        for part in drawn:
            parts.append(part)
            progress(len(parts), chunks, "drawing pictures for the demo's small CLIP")
    return np.concatenate([frames for frames, _ in parts]), [row for _, rows in parts for row in rows]


if __name__ == "__main__":
    train(sys.argv[1], progress=lambda done, total, text: print(f"{done} of {total}, {text}", flush=True))
