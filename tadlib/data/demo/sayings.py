"""Captions in other words than a class's name: what people write under pictures of the twenty actions."""

SAYINGS = {
    "BaseballPitch": (
        "the pitcher throws the ball from the mound", "a man in a cap hurls a fastball", "pitching to the batter",
        "winding up and letting the ball go", "a strike in a baseball game", "the pitcher's arm comes over",
        "a throw to home plate", "a player pitches overarm",
    ),
    "BasketballDunk": (
        "slamming the ball through the hoop", "a player leaps to the basket", "he dunks it", "what a slam dunk",
        "two points at the rim", "a basketball player jumps and scores", "the ball goes down through the net",
        "flying to the hoop",
    ),
    "Billiards": (
        "a man shoots pool", "the cue strikes the white ball", "leaning over a green table", "potting a ball",
        "a game of pool in a bar", "taking aim with the cue", "balls roll across the table", "a snooker player's shot",
    ),
    "CleanAndJerk": (
        "lifting a heavy barbell over the head", "a weightlifter pushes the weight up", "olympic weightlifting",
        "the strong man raises the bar", "a lift in the gym", "pulling the barbell from the floor",
        "weights go up to the shoulders", "a woman lifts weights",
    ),
    "CliffDiving": (
        "jumping off a cliff into the sea", "a man leaps from a high rock", "falling down to the water from the rocks",
        "a brave jump off the cliffs", "he dives from the rocks into the ocean", "a diver drops from a cliff",
        "plunging into the sea", "a long fall and a splash in the waves",
    ),
    "CricketBowling": (
        "the bowler runs in and bowls", "a straight arm delivers the ball at the wicket", "a fast ball in cricket",
        "bowling to the batsman", "a cricketer bowls over the wicket", "a spinner's delivery", "he bowls him out",
        "the bowler lets the ball go",
    ),
    "CricketShot": (
        "the batsman hits the ball with his bat", "a drive through the covers", "batting in front of the wicket",
        "a cricketer swings the bat", "a six over the ropes", "the bat meets the ball", "a batter plays a stroke",
        "hitting it to the boundary",
    ),
    "Diving": (
        "jumping into the pool from the board", "a springboard diver turns in the air", "head first into the water",
        "a dive from the platform", "a somersault and a splash", "an athlete leaps off the board",
        "a woman dives into the swimming pool", "entering the water without a splash",
    ),
    "FrisbeeCatch": (
        "catching a flying disc", "a man runs after the frisbee", "she grabs the disc out of the air",
        "ultimate in the park", "the frisbee is caught", "reaching for a plastic disc", "a leap for the frisbee",
        "he catches it with one hand",
    ),
    "GolfSwing": (
        "hitting a golf ball off the tee", "a golfer swings his club", "a drive down the fairway",
        "teeing off", "the club meets the ball", "a woman plays golf on the green", "a long shot in golf",
        "the golfer follows the ball with his eyes",
    ),
    "HammerThrow": (
        "spinning round with a ball on a wire", "the hammer flies out of the cage", "throwing the hammer",
        "an athlete turns and lets the wire go", "a heavy ball on a chain is hurled", "hammer thrower in the circle",
        "three turns and the throw", "whirling the hammer around",
    ),
    "HighJump": (
        "clearing the bar backwards", "an athlete jumps over a bar", "she lands on the mat", "a jump with a flop",
        "over the bar in the stadium", "running a curve and leaping up", "a high jumper takes off",
        "jumping as high as possible",
    ),
    "JavelinThrow": (
        "throwing a spear across the field", "the javelin flies far", "an athlete hurls a long spear",
        "running up with a javelin on the shoulder", "a thrower lets the spear go", "a javelin thrower's run",
        "the spear lands in the grass", "she throws the javelin",
    ),
    "LongJump": (
        "leaping into the sand", "an athlete jumps far into the pit", "a sprint and a leap from the board",
        "landing in the sand pit", "a long jumper flies through the air", "jumping as far as possible",
        "feet first into the sand", "the runway and the take-off",
    ),
    "PoleVault": (
        "swinging up on a long pole", "a vaulter clears the bar", "planting the pole and flying over the bar",
        "she vaults over a very high bar", "the pole bends", "an athlete with a pole takes off",
        "up and over with the pole", "a vaulter falls onto the mat",
    ),
    "Shotput": (
        "pushing a heavy ball from the neck", "putting the shot", "a strong man pushes an iron ball",
        "the shot leaves the hand", "an athlete in the circle puts the shot", "a metal ball flies a few metres",
        "a shot putter glides and pushes", "the heavy ball lands on the grass",
    ),
    "SoccerPenalty": (
        "kicking the ball at the goal", "a penalty kick", "the keeper dives, the striker shoots",
        "a footballer scores from the spot", "shooting from eleven metres", "a goal in football",
        "the ball goes into the net", "a player takes a penalty",
    ),
    "TennisSwing": (
        "hitting the ball over the net with a racket", "a forehand on the tennis court", "a backhand down the line",
        "serving an ace", "a player swings the racket", "returning the ball", "a rally in tennis",
        "the racket strikes a yellow ball",
    ),
    "ThrowDiscus": (
        "spinning and throwing a discus", "the discus sails away", "an athlete turns in the circle with a discus",
        "a discus thrower at work", "hurling the round plate", "he flings the discus far", "a turn and a throw",
        "the discus leaves her hand",
    ),
    "VolleyballSpiking": (
        "smashing the ball over the net", "a spike at the net", "a player jumps and hits the volleyball",
        "the attacker smashes", "beach volleyball, a hard hit", "she spikes it into the other court",
        "leaping at the net to strike the ball", "a winning smash in volleyball",
    ),
}  # fmt: skip
