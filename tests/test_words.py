"""Words as people write them: lists, JSON, commas, lines, files; any number, any alphabet, refused in one sentence."""

import json

import pytest

from tadlib.naming.words import Word, read_words, sentence

DIVING = Word("diving", ("a person diving",))
GOLF = Word("a golf swing", ("a person doing a golf swing",))


@pytest.mark.parametrize(
    "given",
    [
        ["diving", "a golf swing"],
        '["diving", "a golf swing"]',
        "diving, a golf swing",
        "diving\n# sports with balls\n\na golf swing\n",
        '  diving ,"a golf swing"',
        ["diving", "Diving ", "a golf\nswing", "a  golf swing"],
    ],
)
def test_every_way_of_writing_gives_the_same_words(given):
    assert read_words(given) == [DIVING, GOLF]


@pytest.mark.parametrize("name", ["asked.txt", "asked.json"])
def test_a_file_is_read_from_a_folder(name, tmp_path):
    text = "diving\na golf swing\n" if name.endswith("txt") else '["diving", "a golf swing"]'
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_words(name, tmp_path) == read_words(str(tmp_path / name)) == [DIVING, GOLF]


@pytest.mark.parametrize(
    "given",
    [
        "dive: somebody jumps, head first, into water",
        ["dive: somebody jumps, head first, into water"],
        {"dive": "somebody jumps, head first, into water"},
        '{"dive": ["somebody jumps, head first, into water"]}',
    ],
)
def test_a_description_is_what_is_read_for_a_word(given):
    assert read_words(given) == [Word("dive", ("somebody jumps, head first, into water",))]


def test_descriptions_of_one_word_are_joined():
    assert read_words(["dive: a leap", "Dive: a splash", "dive"]) == [Word("dive", ("a leap", "a splash"))]


def test_a_sentence_is_read_as_it_is_and_a_name_in_plain_english():
    for whole in ("a man swings a golf club hard", "a golfer hits the ball", "somebody plays pool", "He dives."):
        assert sentence(whole) == whole
    assert sentence("a person diving") == "a person diving" and sentence("a wedding") == "a wedding"
    for name in ("a golf swing", "the long jump", "archery"):
        assert sentence(name) == f"a person doing {name}"
    for name in ("playing pool with a cue", "diving", "rock climbing"):
        assert sentence(name) == f"a person {name}"
    assert sentence("BaseballPitch") == "a person pitching a baseball" == sentence("baseball pitch")
    assert sentence("ThrowDiscus") == "a person throwing a discus"
    assert sentence("GolfSwing") == "a person doing a golf swing"


@pytest.mark.parametrize(
    "name", ['the "dive"', "прыжок в воду", "跳水", "qu'il plonge", "{braces}", "</script>a", "$x^2$"]
)
def test_other_alphabets_and_signs_stay_as_they_are(name):
    assert [word.name for word in read_words([name])] == [name]
    assert [word.name for word in read_words(json.dumps([name]))] == [name]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "classes must name at least one class, got ''"),
        (["diving", " "], "classes has an empty name at place 2 of 2"),
        ("diving,,golf", "classes has an empty name at place 2 of 3"),
        (["?!"], "classes has no letter in '?!' at place 1 of 1"),
        (["dive:"], "classes has an empty description of 'dive' at place 1 of 1"),
        (["x" * 1001], "classes has 1001 characters at place 1 of 1"),
        ('["diving"', "classes looks like JSON but is not valid"),
        ([["diving"]], "classes must hold names, got ['diving']"),
        ("asked.txt", "classes names a file that is not there"),
        ("asked.csv", "classes names 'asked.csv', a file that is not read: write its words into a .txt or"),
    ],
)
def test_what_is_no_word_is_refused_in_one_sentence(given, message):
    with pytest.raises(ValueError) as error:
        read_words(given)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_file_that_is_no_text_or_empty_is_named(tmp_path):
    for name, content, told in (("bad", b"\xff\x00d", "is not UTF-8 text"), ("none", b"# remark\n", "holds no class")):
        (tmp_path / f"{name}.txt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.txt {told}"):
            read_words(f"{name}.txt", tmp_path)


def test_other_spellings_of_one_word_are_kept_to_be_told():
    (word,) = read_words(["golf_swing", "GolfSwing", "Golf_Swing", "golf swing"])
    assert word == Word("golf_swing", ("a person doing a golf swing",), ("GolfSwing", "golf swing"))
    assert sentence("a_man_swings_a_golf_club") == "a man swings a golf club"
