"""What CLIP reads for a class: the texts of every style, their embeddings, and the pieces they are cut into."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from conftest import ROOT

from tadlib.data import splits
from tadlib.data.encoder import load_encoder, table_encoder
from tadlib.naming import text
from tadlib.naming.descriptions import described, read_descriptions
from tadlib.naming.text import TEMPLATES, Wording
from tadlib.naming.tokens import cut_off, cut_texts, describe_cut, explain, reads_any_text, token_rows

CPU = torch.device("cpu")
OWN = {
    "HighJump": {"idx": 0, "Elaboration": {"Description": ["run up", "take off", "land"]}},
    "wave": {"idx": 1, "Elaboration": {"Description": "a hand moves from side to side"}, "Origin_Chat": "{not JSON"},
}
FOLDER = ROOT / "tadlib" / "naming" / "descriptions"


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return load_encoder("tad-demo", "", CPU)


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(OWN))
    return str(path)


def test_every_style_has_its_texts(own):
    prompt, steps = "a video of a person doing high jump", ("run up", "take off", "land")
    for wording, expected in (
        (Wording("prompt"), (prompt,)),
        (Wording("name"), ("high jump",)),
        (Wording("description", descriptions=own), steps),
        (Wording("subactions", descriptions=own), steps),
        (Wording("subactions", "name", own), ("high jump", *steps)),
        (Wording("subactions", "prompt", own), (prompt, *steps)),
    ):
        assert text.texts_of(["HighJump"], wording) == [expected]
    assert text.texts_of(["wave"], Wording("description", descriptions=own)) == [("a hand moves from side to side",)]
    assert text.texts_of(["HighJump"], Wording("templates"))[0][1] == "a photo of a person doing high jump"
    assert len(text.texts_of(["HighJump"], Wording("templates"))[0]) == len(TEMPLATES) == len(set(TEMPLATES))


def test_a_class_without_description_is_named_with_what_to_do(own):
    with pytest.raises(ValueError, match=r"no subactions of 1 of 2 classes, first 'clap'.*-p descriptions PATH"):
        text.texts_of(["wave", "clap"], Wording("subactions", descriptions=own))


def test_an_unknown_style_and_an_empty_name_are_refused():
    with pytest.raises(ValueError, match="text is unknown: 'poem'; did you mean 'prompt'"):
        Wording("poem")
    with pytest.raises(ValueError, match="lead is unknown: 'title'; known: none, name, prompt"):
        Wording("subactions", "title")
    with pytest.raises(ValueError, match="class names must not be empty"):
        text.texts_of(["wave", " "], Wording())


def test_files_as_others_publish_them_are_read(shared_data):
    files = sorted((shared_data / "descriptions").glob("*.json"))
    assert {path.name: len(read_descriptions(path)) for path in files} == {
        f"{name}_{version}.json": number
        for name, number in (("activitynet13", 200), ("thumos14", 20))
        for version in ("v3", "v4", "v6")
    }


def test_a_class_spelt_otherwise_is_found_by_what_is_spoken():
    assert described(["golf swing"], "subactions") == described(["GolfSwing"], "subactions")
    assert described(["ICE FISHING"], "description") == described(["Ice fishing"], "description")
    assert described(["HighJump"], "subactions") != described(["High jump"], "subactions"), "each file's own, if there"


@pytest.mark.parametrize(("name", "names"), [("thumos14", "7c15088a951c"), ("activitynet13", "696d49925655")])
def test_every_class_has_a_description_and_three_to_five_steps_within_the_context(encoder, name, names):
    sentences = read_descriptions(FOLDER / f"{name}_description.json")
    steps = read_descriptions(FOLDER / f"{name}_subactions.json")
    assert hashlib.sha256("\n".join(sorted(steps)).encode()).hexdigest()[:12] == names in splits.OFFICIAL
    assert list(steps) == list(sentences)
    assert all(len(several) == 1 for several in sentences.values())
    assert all(3 <= len(several) <= 5 and len(set(several)) == len(several) for several in steps.values())
    texts = [said for table in (sentences, steps) for several in table.values() for said in several]
    assert len(set(texts)) == len(texts)
    longest = max(len(encoder.tokenizer.encode(said)) for said in texts)
    assert longest + 2 <= encoder.tokenizer.context_length == 32


def test_our_descriptions_are_not_those_others_published(shared_data):
    ours, published = (
        {
            said.casefold()
            for path in folder.glob("*.json")
            for each in read_descriptions(path).values()
            for said in each
        }
        for folder in (FOLDER, shared_data / "descriptions")
    )
    assert ours and published and not ours & published


@pytest.mark.parametrize("style", ["templates", "subactions"])
def test_embeddings_of_classes_equal_those_of_a_plain_loop(encoder, style):
    classes = ["Diving", "HighJump", "GolfSwing"]
    for row, label in zip(text.class_embeddings(encoder, classes, Wording(style)), classes, strict=True):
        units = [encoder.texts([said])[0] for said in text.texts_of([label], Wording(style))[0]]
        mean = sum(unit / unit.norm() for unit in units) / len(units)
        torch.testing.assert_close(row, mean / mean.norm())


def test_steps_keep_their_order_and_their_padding(encoder, own):
    steps = text.text_embeddings(encoder, ["wave", "HighJump"], Wording("subactions", descriptions=own))
    assert steps.padding.tolist() == [[False, True, True], [False, False, False]]
    torch.testing.assert_close(steps.embeddings[1], encoder.texts(["run up", "take off", "land"]))
    assert steps.embeddings[0, 1:].count_nonzero() == 0


def test_a_text_is_encoded_once_and_found_again_to_the_bit(encoder, tmp_path, monkeypatch):
    first = text.class_embeddings(encoder, ["Diving", "HighJump"], Wording("templates"), tmp_path)
    asked = []
    monkeypatch.setattr(type(encoder), "texts", lambda self, texts: asked.append(texts))
    again = text.class_embeddings(encoder, ["HighJump", "Diving"], Wording("templates"), tmp_path)
    assert torch.equal(first, again.flip(0)) and asked == []
    assert len(list((tmp_path / "embeddings").glob("*.npy"))) == 2 * len(TEMPLATES)


def test_texts_that_several_want_at_once_are_encoded_once(encoder, tmp_path, monkeypatch):
    encode, asked, both = type(encoder).texts, [], ["a dive", "a longer dive"]

    def slowly(self, texts):
        asked.append(list(texts))
        time.sleep(0.3)
        return encode(self, texts)

    monkeypatch.setattr(type(encoder), "texts", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: text.embed(encoder, both, tmp_path), range(4)))
    assert asked == [both] and all(torch.equal(each, found[0]) for each in found)
    assert torch.equal(text.embed(encoder, ["a dive", "new"], tmp_path)[0], found[0][0])
    assert asked[1:] == [["new"]]


class Words:
    """A tokenizer of somebody else's: a number a word of which it reads eight, and no way to ask for its pieces."""

    def __call__(self, texts):
        rows = [["".join(filter(str.isalnum, word)) for word in text.split()] for text in texts]
        numbers = [[sum(word.encode()) for word in row if word][:8] for row in rows]
        return torch.tensor([row + [0] * (8 - len(row)) for row in numbers])


LONG = "one two three four five six seven eight nine ten."


def test_whatever_the_tokenizer_the_place_where_a_text_is_cut_is_found(encoder):
    other = replace(encoder, tokenizer=Words())
    assert cut_off(other, LONG) == "nine ten."
    assert cut_off(other, LONG.removesuffix(" nine ten.") + "!") == "" == cut_off(other, "dive")
    assert cut_texts(other, ["dive", LONG, LONG]) == {LONG: "nine ten."}
    assert token_rows(other, [LONG])[0]["cut off"] == "nine ten."
    assert "made elsewhere" not in token_rows(other, [LONG])[0]["tokens"] + explain(other, LONG)[0]["meaning"]
    assert describe_cut(LONG, "nine ten.") == "read up to 'one two three four five six seven eight', not 'nine ten.'"


def test_what_is_not_read_changes_nothing_and_what_is_read_does(encoder):
    text = "somebody in a yellow shirt " * 8 + "jumps"
    rest = cut_off(encoder, text)
    read = text.removesuffix(rest)
    assert rest.endswith("jumps") and len(read) > 50
    same, less, whole = encoder.texts([read + " sleeps", read[: len(read) // 2], text])
    torch.testing.assert_close(same, whole)
    assert not torch.allclose(less, whole)
    assert cut_off(encoder, "跳" * 40) and not cut_off(encoder, "跳水")


def test_an_encoder_that_reads_any_text_is_not_taken_for_a_table(encoder):
    assert reads_any_text(encoder) and reads_any_text(replace(encoder, tokenizer=Words()))
    assert not reads_any_text(table_encoder("own.npz", {"x": torch.ones(4).numpy()}))
