"""A CLIP model is loaded as it was trained: from a tag, a checkpoint, or OpenAI's own file."""

import importlib.util

import huggingface_hub
import open_clip
import pytest
import torch

from tadlib.data.annotations import spoken
from tadlib.data.encoder import load_encoder, table_encoder, to_download
from tadlib.workbook import gathering, runs
from tadlib.workbook.gathering import image_encoder
from tadlib.workbook.params import Params

CPU = torch.device("cpu")


class Scripted(torch.nn.Module):
    """A module that holds a checkpoint's weights under their names, as OpenAI's archive does."""

    def __init__(self):
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def archive(path, weights):
    root = Scripted()
    for name, value in weights.items():
        module = root
        for part in name.split(".")[:-1]:
            if part not in dict(module.named_children()):
                module.add_module(part, Scripted())
            module = getattr(module, part)
        module.register_buffer(name.split(".")[-1], value)
    root.register_buffer("input_resolution", torch.tensor(64))
    torch.jit.script(root).save(str(path))


def activations(encoder):
    blocks = open_clip.transformer.ResidualAttentionBlock
    return {type(block.mlp.gelu) for block in encoder.model.modules() if isinstance(block, blocks)}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_openais_own_file_is_read_with_the_activation_it_was_trained_with(tmp_path):
    weights = load_encoder("tad-demo", "", CPU).model.state_dict()
    archive(tmp_path / "ViT.pt", {name: value.half() for name, value in weights.items()})
    encoder = load_encoder("tad-demo", str(tmp_path / "ViT.pt"), CPU)
    assert activations(encoder) == {open_clip.transformer.QuickGELU}
    for name, value in encoder.model.state_dict().items():
        torch.testing.assert_close(value, weights[name].half().to(value.dtype), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_a_file_are_cast_as_the_model_wants_them_and_take_the_place_of_the_untrained_ones(tmp_path, dtype):
    made = load_encoder("tad-demo", "", CPU)
    torch.save({"state_dict": {f"module.{k}": v for k, v in made.model.state_dict().items()}}, tmp_path / "clip.pt")
    found, untrained = (load_encoder("tad-demo", each, CPU, dtype) for each in (str(tmp_path / "clip.pt"), ""))
    assert activations(found) == {torch.nn.GELU}, "the architecture's own, unlike OpenAI's file"
    kinds = {name: value.dtype for name, value in untrained.model.state_dict().items()}
    assert len(set(kinds.values())) == (2 if dtype == torch.float32 else 3)  # whole counts; norms stay float32
    for name, value in found.model.state_dict().items():
        assert value.dtype == kinds[name] and not value.requires_grad
        torch.testing.assert_close(value, made.model.state_dict()[name].to(kinds[name]), rtol=0, atol=0)


def test_a_checkpoint_that_lacks_a_weight_is_refused(tmp_path):
    weights = load_encoder("tad-demo", "", CPU).model.state_dict()
    weights.pop("text_projection")
    torch.save(weights, tmp_path / "clip.pt")
    with pytest.raises(RuntimeError, match="no weights .*clip.pt.*other weights"):
        load_encoder("tad-demo", str(tmp_path / "clip.pt"), CPU)


@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion2b_s34b_b88k", False)])
def test_a_tag_says_with_which_activation_it_was_trained(monkeypatch, tag, quick):
    asked = {}

    def create(name, **options):
        asked.update(options)
        raise RuntimeError("no network here")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    with pytest.raises(RuntimeError, match=f"no weights '{tag}' for encoder 'ViT-B-16': .*no network here; pass -p"):
        load_encoder("ViT-B-16", tag, CPU)
    assert asked["force_quick_gelu"] is quick and asked["pretrained"] == tag


def test_an_unknown_architecture_is_named_before_the_demo_is_drawn(monkeypatch):
    monkeypatch.setattr("tadlib.data.datasets.load", None)
    with pytest.raises(ValueError, match="encoder 'ViT-B16' is no open_clip architecture; did you mean 'ViT-B-16'?"):
        gathering.gather(Params.read({"encoder": "ViT-B16", "pretrained": "openai"}))


def test_a_table_answers_for_the_texts_it_has_and_names_others():
    encoder = table_encoder("t.npz", {"a run": torch.ones(4).numpy(), "a jump": torch.zeros(4).numpy()})
    assert encoder.texts(["a jump", "a run"]).tolist() == [[0] * 4, [1] * 4]
    assert encoder.logit_scale == pytest.approx(4.60517, abs=1e-5)
    with pytest.raises(ValueError, match="t.npz has no embedding of 'a walk', only of 2 other texts"):
        encoder.texts(["a walk"])


@pytest.mark.parametrize(
    ("label", "said"),
    [
        *(("CleanAndJerk", "clean and jerk"), ("golf_swing", "golf swing"), ("Rock_Climbing", "rock climbing")),
        *(("__pole__vault_", "pole vault"), ("brush-hair", "brush hair")),
        *(("Carving jack-o-lanterns", "Carving jack o lanterns"), ("saut-à-la-perche", "saut à la perche")),
        *(("BMX", "BMX"), ("BMX_Racing", "BMX racing"), ("TVShow", "TV show"), ("walk-2", "walk-2")),
        *(("take_-_off", "take - off"), ("ICE FISHING", "ICE FISHING"), ("跳水", "跳水"), ("___", "___")),
    ],
)
def test_a_name_is_read_as_people_say_it(label, said):
    assert spoken(label) == said


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32"])
def test_what_reads_texts_is_asked_for_before_anything_is_fetched(monkeypatch, name):
    def fetched(*_, **__):
        raise AssertionError("weights were asked for")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", fetched)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=f"encoder '{name}' reads texts by .*: pip install transformers$"):
        load_encoder(name, "webli", CPU)


def test_what_must_be_fetched_is_told_before_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    assert to_download("tad-demo", "") == to_download("ViT-B-16", "random") == ""
    assert "it needs the weights 'openai' of ViT-B-16-quickgelu (" in to_download("ViT-B-16-quickgelu", "openai")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    (tmp_path / "clip.pt").touch()
    told = to_download("roberta-ViT-B-32", str(tmp_path / "clip.pt"))
    assert told == "it needs the tokenizer roberta-base, which must be downloaded first"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "here")
    assert to_download("ViT-B-16-SigLIP", "webli") == ""


def test_a_tokenizer_that_cannot_be_had_is_named(monkeypatch):
    def missing(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr(open_clip, "get_tokenizer", missing)
    with pytest.raises(RuntimeError, match="no tokenizer for encoder 'tad-demo': OSError: no network here"):
        load_encoder("tad-demo", "", CPU)


def test_untrained_weights_are_the_same_every_time_and_say_so_on_every_page(tmp_path, capsys):
    params = Params.check({"encoder": "tad-demo", "pretrained": "random", "run_dir": str(tmp_path / "run")})
    one, other = (image_encoder(params) for _ in range(2))
    assert one.name == "untrained tad-demo" and one.key == other.key
    assert "UNTRAINED ENCODER tad-demo" in runs.start("train", params).finish(data="some").record["data"]
    assert "UNTRAINED ENCODER tad-demo" in capsys.readouterr().out
