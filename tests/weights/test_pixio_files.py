"""Files of several cls tokens: the original's names, the spellings of transformers, and what cannot hold them."""

import json

import pytest
import torch
from checkpoint_files import make_classifier, make_encoder, make_mae, make_upernet, randomise
from safetensors.torch import load_file, save_file
from transformers import PixioBackbone, PixioConfig, PixioModel

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.errors import UserError
from mae_hydra.weights import describe, read_checkpoint, to_layout, transfer

TOKENS = 8


@pytest.fixture(scope="module")
def theirs():
    config = PixioConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=32, patch_size=8
    )
    return randomise(PixioModel(config)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tokens(theirs, images):
    with torch.no_grad():
        return theirs(images).last_hidden_state


@pytest.fixture
def original(theirs):
    """The names of the published .pth files, spelt out: flat, the encoder alone, query, key and value in one."""
    state = theirs.state_dict()
    named = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        **{f"patch_embed.proj.{kind}": state[f"embeddings.patch_embeddings.projection.{kind}"] for kind in KINDS},
    }
    for index in range(4):
        old, new = f"layers.{index}", f"blocks.{index}"
        for kind in KINDS:
            parts = [state[f"{old}.attention.{part}_proj.{kind}"] for part in "qkv"]
            named[f"{new}.attn.qkv.{kind}"] = torch.cat(parts)
            named[f"{new}.attn.proj.{kind}"] = state[f"{old}.attention.o_proj.{kind}"]
            named[f"{new}.norm1.{kind}"] = state[f"{old}.layernorm_before.{kind}"]
            named[f"{new}.norm2.{kind}"] = state[f"{old}.layernorm_after.{kind}"]
            for layer in ("fc1", "fc2"):
                named[f"{new}.mlp.{layer}.{kind}"] = state[f"{old}.mlp.{layer}.{kind}"]
    return named | {f"norm.{kind}": state[f"layernorm.{kind}"] for kind in KINDS}


KINDS = ("weight", "bias")


def as_converted(state):
    """The spelling of the files on the hub."""
    pairs = (
        ("layers.", "encoder.layer."), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
        ("attention.q_proj", "attention.attention.query"), ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"), ("attention.o_proj", "attention.output.dense"),
    )  # fmt: skip
    renamed = {}
    for name, value in state.items():
        for old, new in pairs:
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


def written(folder, theirs, tensors):
    folder.mkdir()
    theirs.config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def check(path, images, tokens, **told):
    """Read, described, loaded and computed."""
    checkpoint = read_checkpoint(path)
    found = describe(checkpoint)
    assert (checkpoint.kind, found.num_cls_tokens, found.grid) == ("encoder", TOKENS, (4, 4))
    model = make_encoder(num_cls_tokens=TOKENS, positions="learned").eval()
    report = transfer(torch.nn.ModuleDict({"encoder": model}), checkpoint)
    assert report.names("new") == report.names("unused") == []
    with torch.no_grad():
        torch.testing.assert_close(model.tokens(images), tokens, rtol=1e-5, atol=1e-5)


def test_every_spelling_of_transformers_is_read(tmp_path, theirs, images, tokens):
    state = theirs.state_dict()
    theirs.save_pretrained(tmp_path / "saved")  # of a model that was never loaded
    hub = written(tmp_path / "hub", theirs, as_converted(state))
    for folder in (tmp_path / "saved", hub, written(tmp_path / "memory", theirs, dict(state))):
        check(folder, images, tokens)
        assert mae_hydra.load(folder).num_heads == 2  # from its config.json
        with torch.no_grad():
            torch.testing.assert_close(mae_hydra.load(folder).tokens(images), tokens, rtol=1e-5, atol=1e-5)


def test_the_original_names_are_read(tmp_path, original, images, tokens):
    torch.save(original, tmp_path / "pixio.pth")
    check(tmp_path / "pixio.pth", images, tokens)
    assert len(original) == 4 * 12 + 6


def test_a_backbone_is_read_under_the_norm_that_was_trained(tmp_path, theirs, images, tokens):
    written(tmp_path / "hub", theirs, as_converted(theirs.state_dict()))
    backbone = PixioBackbone.from_pretrained(tmp_path / "hub")
    backbone.save_pretrained(tmp_path / "untrained")  # its second norm is one of ones and zeros
    check(tmp_path / "untrained", images, tokens)
    fresh = PixioBackbone(theirs.config)
    with torch.no_grad():
        fresh.layernorm.weight.fill_(3.0)
    fresh.save_pretrained(tmp_path / "trained")
    found = read_checkpoint(tmp_path / "trained")
    assert found.tensors["encoder.norm.weight"].eq(3).all()
    assert torch.equal(found.tensors["encoder.norm.bias"], fresh.layernorm.bias)


def test_what_is_written_for_transformers_and_the_original_is_what_they_write(tmp_path, theirs, original, capsys):
    source = written(tmp_path / "hub", theirs, as_converted(theirs.state_dict()))
    out = tmp_path / "out"
    for target, name in (("huggingface", "hf"), ("official", "original.pth"), ("timm", "timm.pth")):
        assert main(["convert", str(source), str(out.with_name(name)), "--to", target]) == 0
    again = load_file(tmp_path / "hf" / "model.safetensors")
    assert again.keys() == as_converted(theirs.state_dict()).keys()
    _, told = PixioModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(told.values())
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["model_type"], config["n_cls_tokens"], config["mlp_ratio"]) == ("pixio", TOKENS, 2)
    named = torch.load(tmp_path / "original.pth", weights_only=True)["model"]
    assert named.keys() == original.keys()
    assert all(torch.equal(named[name], value) for name, value in original.items())
    registers = torch.load(tmp_path / "timm.pth", weights_only=True)
    assert registers["cls_token"].shape == (1, 1, 16)
    assert registers["reg_token"].shape == (1, TOKENS - 1, 16)
    capsys.readouterr()
    assert main(["convert", "--inspect", str(source)]) == 0
    assert "8 cls tokens" in capsys.readouterr().out


def pixio_mae(**changes):
    return make_mae(num_cls_tokens=TOKENS, **changes)


def test_a_whole_model_goes_out_and_in_under_the_official_names_and_its_encoder_alone_to_hugging_face():
    state = randomise(pixio_mae()).state_dict()
    assert len(to_layout(state, "official").tensors) == len(state)
    alone = to_layout(state, "huggingface")
    assert all(name.startswith("decoder.") for name in alone.left_out)
    assert len(alone.left_out) == sum(name.startswith("decoder.") for name in state)
    with pytest.raises(UserError, match="mmseg layout has no place for a masked autoencoder of 8 cls tokens"):
        to_layout(state, "mmseg")


def test_positions_of_another_grid_are_resized_and_those_of_cls_tokens_kept(tmp_path):
    source = randomise(pixio_mae(image_size=[16, 64], positions="learned"))
    source.encoder.pos_embed.data[:, :TOKENS].normal_()
    torch.save({"model": to_layout(source.state_dict(), "official").tensors}, tmp_path / "file.pth")
    checkpoint = read_checkpoint(tmp_path / "file.pth")
    assert describe(checkpoint).grid == (2, 8)  # which sine-cosine rows behind those of the cls tokens tell
    model = pixio_mae(image_size=[32, 64])
    assert transfer(model, checkpoint).names("resized") == ["encoder.pos_embed", "decoder.pos_embed"]
    assert torch.equal(model.encoder.pos_embed[:, :TOKENS], source.encoder.pos_embed[:, :TOKENS])
    before, after = source.encoder.pos_embed[0, TOKENS:], model.encoder.pos_embed[0, TOKENS:]
    assert after.shape == (32, 16)
    torch.testing.assert_close(after.unflatten(0, (4, 8)).mean(0)[:, :8], before[:8, :8])  # columns as they were


def test_it_starts_classifiers_and_upernets_of_as_many_cls_tokens_and_no_others(tmp_path):
    source = randomise(pixio_mae())
    torch.save({"model": to_layout(source.state_dict(), "official").tensors}, tmp_path / "file.pth")
    checkpoint = read_checkpoint(tmp_path / "file.pth")
    for model in (make_classifier(pool="cls", num_cls_tokens=TOKENS), make_upernet(num_cls_tokens=TOKENS)):
        transfer(model, checkpoint)
        assert torch.equal(model.encoder.cls_token, source.encoder.cls_token)
    with pytest.raises(UserError, match="has cls tokens 8, the model's has cls tokens 1: choose what the file"):
        transfer(make_upernet(), checkpoint)
