"""Files as other trainers save them: a part of something larger, beside an average, or another model altogether."""

import json

import pytest
import torch
import transformers
from checkpoint_files import make_classifier, make_mae, make_upernet, official_names, randomise, write_run
from safetensors.torch import save_file

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.errors import UserError
from mae_hydra.weights import ForeignModelError, read_checkpoint, to_layout, transfer
from mae_hydra.workflows.evaluation_plan import plan_evaluation
from mae_hydra.workflows.fits import fits

SIZE = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def mae():
    return randomise(make_mae())


@pytest.fixture(scope="module")
def whole(mae):
    return official_names(mae)


@pytest.fixture(scope="module")
def encoder(mae):
    return to_layout(mae.state_dict(), "timm").tensors


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def decoder_of(whole, encoder):
    return {name: value for name, value in whole.items() if name not in encoder}


def mmpretrain(whole):
    """Its names, spelt out."""
    inner = {"norm1.": "ln1.", "norm2.": "ln2.", "mlp.fc1.": "ffn.layers.0.0.", "mlp.fc2.": "ffn.layers.1."}
    renamed = {}
    for name, value in whole.items():
        decoder = name.startswith("decoder_") or name == "mask_token"
        new = name.replace("patch_embed.proj.", "patch_embed.projection.")
        for old, theirs in inner.items():
            new = new.replace(old, theirs)
        if not decoder:
            new = new.replace("blocks.", "layers.")
            new = f"ln1.{new.removeprefix('norm.')}" if new.startswith("norm.") else new
        new = new.replace("decoder_norm.", "ln1.")
        renamed[("neck." if decoder else "backbone.") + new] = value
    return renamed


def containers(whole, encoder):
    """(what the file holds, how many tensors beside the model) by who writes it."""
    decoder = decoder_of(whole, encoder)
    return {
        "Lightning": ({"state_dict": prefixed("model.", whole), "pytorch-lightning_version": "2.2", "epoch": 1}, 0),
        "net.": ({"net": 1, "state_dict": prefixed("net.", whole)}, 0),
        "DDP, compiled, in Lightning": ({"state_dict": prefixed("model._orig_mod.module.", whole)}, 0),
        "ours in Lightning": ({"state_dict": prefixed("model.", make_and(whole))}, 0),
        "solo-learn": (
            {
                "state_dict": prefixed("backbone.", encoder)
                | prefixed("decoder.", decoder)
                | {"classifier.weight": torch.zeros(5, 16), "classifier.bias": torch.zeros(5)}
            },
            2,
        ),
        "lightly": ({"state_dict": prefixed("backbone.vit.", encoder) | prefixed("decoder.", decoder)}, 0),
        "encoder. and decoder.": (prefixed("encoder.", encoder) | prefixed("decoder.", decoder), 0),
        "mmpretrain": ({"meta": {}, "state_dict": mmpretrain(whole)}, 0),
        "mmpretrain, wrapped": ({"meta": {}, "state_dict": prefixed("module.", mmpretrain(whole))}, 0),
    }


def make_and(whole):
    """The same under our names."""
    named = {}
    for name, value in whole.items():
        part = "decoder." if name.startswith("decoder_") or name == "mask_token" else "encoder."
        named[part + name.removeprefix("decoder_")] = value
    return named


@pytest.mark.parametrize("program", containers({}, {}))
def test_a_masked_autoencoder_is_read_out_of_what_other_trainers_save(tmp_path, mae, whole, encoder, program):
    content, beside = containers(whole, encoder)[program]
    torch.save(content, tmp_path / "file.ckpt")
    checkpoint = read_checkpoint(tmp_path / "file.ckpt")
    assert checkpoint.kind == "mae"
    assert len(checkpoint.unused) == beside
    model = make_mae()
    report = transfer(model, checkpoint)
    assert report.names("new") == []
    assert report.names("unused") == list(checkpoint.unused)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in mae.state_dict().items())


@pytest.mark.parametrize(
    ("wrap", "unused"),
    [
        (lambda state: prefixed("encoder.", state), 0),
        (lambda state: {"state_dict": prefixed("backbone.", state) | {"head.mlp.0.weight": torch.zeros(3, 3)}}, 1),
        (lambda state: {"state_dict": prefixed("module.base_encoder.", state)}, 0),
        (lambda state: {"student": prefixed("module.backbone.", state) | {"module.head.w": torch.zeros(3)}}, 1),
    ],
    ids=["encoder", "backbone and a head", "MoCo", "student"],
)
def test_an_encoder_is_read_out_of_what_other_trainers_save(tmp_path, mae, encoder, wrap, unused):
    torch.save(wrap(encoder), tmp_path / "file.pth")
    checkpoint = read_checkpoint(tmp_path / "file.pth")
    assert (checkpoint.kind, len(checkpoint.unused)) == ("encoder", unused)
    model = make_upernet()
    transfer(model, checkpoint)
    assert torch.equal(model.encoder.cls_token, mae.encoder.cls_token)


def more(state):
    return {name: value + 1 for name, value in state.items()}


AVERAGES = {  # what the file holds, and what is taken without a word: the plain weights (0) or the others (1)
    "timm": (lambda plain, other: {"state_dict": plain, "state_dict_ema": other}, 0),
    "official and an average": (lambda plain, other: {"model": plain, "model_ema": other}, 0),
    "under one more key": (lambda plain, other: {"model": plain, "ema": {"module": other}}, 0),
    "DINO": (
        lambda plain, other: {
            "student": prefixed("module.backbone.", plain),
            "teacher": prefixed("backbone.", other),
        },
        1,
    ),
    "momentum in one": (
        lambda plain, other: {
            "state_dict": prefixed("backbone.", plain) | prefixed("momentum_backbone.", other),
        },
        0,
    ),
    "student and teacher in one": (lambda plain, other: prefixed("student.", plain) | prefixed("teacher.", other), 1),
    "our run": (
        lambda plain, other: {"model": make_and(plain), "average": {"model": make_and(other), "updates": 3}},
        1,
    ),
}


@pytest.mark.parametrize("program", AVERAGES)
def test_an_average_is_noticed_chosen_by_a_word_and_named_in_the_report(tmp_path, encoder, program):
    wrap, usual = AVERAGES[program]
    file = tmp_path / "file.pth"
    torch.save(wrap(encoder, more(encoder)), file)
    token = encoder["cls_token"]
    without, average = read_checkpoint(file), read_checkpoint(f"{file}@ema")
    assert torch.equal(without.tensors["encoder.cls_token"], token + usual)
    assert torch.equal(average.tensors["encoder.cls_token"], token + 1)
    assert without.part
    assert without.part in transfer(make_upernet(), without).source
    assert not average.remarks  # who has chosen knows of the others
    if program != "our run":
        [remark] = transfer(make_upernet(), without).remarks
        assert repr(without.part) in remark
        assert repr(average.part) in remark


def test_the_plain_weights_and_any_other_part_are_taken_by_their_name(tmp_path, encoder):
    torch.save({"student": encoder, "teacher": more(encoder)}, tmp_path / "dino.pth")
    token = encoder["cls_token"]
    assert torch.equal(read_checkpoint(tmp_path / "dino.pth@student").tensors["encoder.cls_token"], token)
    run = write_run(tmp_path / "run", make_mae())
    content = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    average = {name: value + 1 for name, value in content["model"].items()}
    torch.save(content | {"average": {"model": average, "updates": 3}}, run / "checkpoints" / "last.pt")
    for word, expected in (("", average), ("@ema", average), ("@model", content["model"])):
        found = read_checkpoint(f"{run}{word}").tensors
        assert torch.equal(found["encoder.cls_token"], expected["encoder.cls_token"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda state: {"model": state}, r"has no part 'ema'; there is only one model"),
        (lambda state: {"student": state, "model": state}, r"has no part 'ema'; it has student"),
    ],
)
def test_a_part_that_is_not_there_is_refused_with_those_that_are(tmp_path, encoder, content, message):
    torch.save(content(encoder), tmp_path / "file.pth")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "file.pth@ema")
    with pytest.raises(UserError, match=r"there is no .*nowhere\.pth@ema"):
        read_checkpoint(tmp_path / "nowhere.pth@ema")


def test_a_file_whose_name_has_an_at_sign_is_read_as_it_is(tmp_path, encoder):
    torch.save(encoder, tmp_path / "vit@224")
    assert read_checkpoint(tmp_path / "vit@224").kind == "encoder"


STRANGERS = {
    "dinov2": ("DINOv2", "LayerScale"),
    "dinov2_with_registers": ("DINOv2 with registers", "4 register tokens"),
    "beit": ("BEiT", "LayerScale"),
    "deit": ("DeiT", "a token of distillation"),
    "dinov3_vit": ("DINOv3", "LayerScale"),
    "videomae": ("VideoMAE", "through time"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_another_model_of_hugging_face_is_named_for_what_it_is(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setenv("COLUMNS", "160")
    name, trait = STRANGERS[kind]
    config = transformers.AutoConfig.for_model(kind, **SIZE)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "hf")
    with pytest.raises(ForeignModelError, match=rf"is {name} \(.*{trait}.*, which no model of this program is"):
        read_checkpoint(tmp_path / "hf")
    capsys.readouterr()
    assert main(["convert", "--inspect", str(tmp_path / "hf")]) == 0
    said = capsys.readouterr().out
    assert name in said
    assert trait in said
    assert "no model of this program" in said
    assert "init_from" not in said


def with_changes(encoder):
    """Other models under the official names, by what they have in addition."""
    channels = {f"patch_embed.{i}.proj.weight": torch.zeros(16, 3, 8, 8) for i in range(3)}
    return {
        "a ViT with registers.*4 register tokens": {**encoder, "reg_token": torch.zeros(1, 4, 16)},
        "a ViT with LayerScale": {**encoder, "blocks.0.ls1.gamma": torch.ones(16)},
        "a distilled DeiT": {**encoder, "dist_token": torch.zeros(1, 1, 16)},
        "through time": {**encoder, "patch_embed.proj.weight": torch.zeros(16, 3, 2, 8, 8)},
        "SatMAE": {n: v for n, v in encoder.items() if "patch_embed" not in n} | channels,
        "BEiT, as it is pre-trained": {**encoder, "rel_pos_bias.relative_position_bias_table": torch.zeros(52, 2)},
        "a ViT without a cls token, as I-JEPA": {n: v for n, v in encoder.items() if n != "cls_token"}
        | {"blocks.0.attn.qkv.weight": torch.zeros(1)},
        "a Swin": {"layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(9, 2)},
        "a ResNet": {"layer1.0.conv1.weight": torch.zeros(1)},
        "a CLIP or SigLIP": {"visual.proj": torch.zeros(1)},
    }


@pytest.mark.parametrize("name", with_changes({}))
def test_another_model_is_named_by_its_tensors(tmp_path, encoder, name):
    torch.save({"model": with_changes(encoder)[name]}, tmp_path / "file.pth")
    with pytest.raises(ForeignModelError, match=rf"is .*{name}"):
        read_checkpoint(tmp_path / "file.pth")


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_another_model_is_told_with_all_that_its_file_tells(tmp_path, ending):
    """Whoever begins from it may know a part that it is; safetensors have no checksums."""
    state, file = {"layer1.0.conv1.weight": torch.ones(1)}, tmp_path / f"file.{ending}"
    content = {"model": state, "step": 12, "epoch": 3}
    torch.save(content, file) if ending == "pth" else save_file(state, file)
    found = read_checkpoint(file, of_any=True)
    told = {"step": 12, "epoch": 3} if ending == "pth" else {}
    assert (found.tensors, found.meta, found.layout, found.path) == ({}, told, "another program's", file)
    assert (found.checked, found.verified, found.as_found) == (ending == "pth", False, state)
    assert isinstance(found.refusal, ForeignModelError)


def test_a_config_json_that_speaks_of_another_file_is_not_believed(tmp_path, encoder):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    torch.save(encoder, tmp_path / "file.pth")
    assert read_checkpoint(tmp_path / "file.pth").kind == "encoder"


@pytest.mark.parametrize("cls", ["ViTModel", "ViTForImageClassification"])
def test_hugging_faces_plain_vit_computes_the_same_here(tmp_path, cls):
    config = transformers.ViTConfig(**SIZE, intermediate_size=32, num_labels=3)
    peer = randomise(getattr(transformers, cls)(config)).eval()
    peer.save_pretrained(tmp_path / "hf")
    ours = mae_hydra.load(tmp_path / "hf")
    images = 0.1 * torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        theirs = peer(images)
        expected = theirs.logits if cls != "ViTModel" else theirs.last_hidden_state
        torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-4)
    unused = read_checkpoint(tmp_path / "hf").unused
    assert unused == (("pooler.dense.bias", "pooler.dense.weight") if cls == "ViTModel" else ())


def test_what_is_said_to_fit_has_been_tried(tmp_path, whole):
    encoder = {n: v for n, v in whole.items() if not n.startswith("decoder") and n != "mask_token"}
    contents = {
        "full": (
            whole,
            {"a masked autoencoder like it", "a classifier of the same encoder", "a UPerNet of the same encoder"},
        ),
        "part": ({n: v for n, v in encoder.items() if "blocks.1.norm1" not in n}, set()),
    }
    for name, (content, expected) in contents.items():
        torch.save(content, tmp_path / f"{name}.pth")
        tried = dict(fits(read_checkpoint(tmp_path / f"{name}.pth")))
        assert {use.removeprefix("init_from= of ") for use, reason in tried.items() if not reason} == expected
        assert "number of attention heads" in tried["mae_hydra.load"]
    assert "it lacks 2 tensors: encoder.blocks.1.norm1" in tried["init_from= of a UPerNet of the same encoder"]


def crossmae(encoder):
    """Its encoder has no final norm; of its decoder only some names are known."""
    blocks = {f"decoder_blocks.{i}.cross_attn.kv.weight": torch.zeros(16, 16) for i in range(2)}
    rest = {"dec_norms.0.weight": torch.ones(16), "wfm.linear.weight": torch.zeros(2, 5)}
    rest["mask_token"] = torch.zeros(1, 1, 8)
    return {name: value for name, value in encoder.items() if not name.startswith("norm.")} | blocks | rest


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_a_crossmae_starts_a_classifier_with_its_whole_encoder(tmp_path, encoder, pool):
    torch.save({"model": crossmae(encoder)}, tmp_path / "crossmae.pth")
    checkpoint = read_checkpoint(tmp_path / "crossmae.pth")
    assert (checkpoint.kind, checkpoint.layout) == ("mae", "official CrossMAE, encoder and decoder")
    model = make_classifier(pool)
    report = transfer(model, checkpoint)
    norm = ["encoder.norm.weight", "encoder.norm.bias"] if pool == "cls" else ["head.norm.weight", "head.norm.bias"]
    assert set(report.names("new")) == {*norm, "head.linear.weight", "head.linear.bias"}
    assert len(report.names("unused")) == 5
    assert ("trained without a final norm" in " ".join(report.remarks)) is (pool == "cls")
    assert torch.equal(model.encoder.blocks[3].mlp.fc2.weight, encoder["blocks.3.mlp.fc2.weight"])
    transfer(make_upernet(), checkpoint)


def test_a_crossmae_is_no_mae_of_ours_and_its_encoder_is_converted_alone(tmp_path, capsys, encoder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": crossmae(encoder)}, "crossmae.pth")
    with pytest.raises(UserError, match=r"decoder whose parts have other names than ours; its encoder is whole"):
        mae_hydra.load("crossmae.pth", "backbone.num_heads=2")
    assert main(["convert", "--inspect", "crossmae.pth"]) == 0
    assert "of parts that have other names than ours" in capsys.readouterr().out
    assert main(["convert", "crossmae.pth", "encoder.pth", "--to", "timm", "--set", "backbone.num_heads=2"]) == 0
    assert "left out" in capsys.readouterr().out
    assert torch.equal(torch.load("encoder.pth")["cls_token"], encoder["cls_token"])


def test_safetensors_of_other_trainers_are_read_alike(tmp_path, mae, whole):
    save_file(
        {name: value.contiguous() for name, value in prefixed("model.", whole).items()}, tmp_path / "f.safetensors"
    )
    assert torch.equal(read_checkpoint(tmp_path / "f.safetensors").tensors["encoder.cls_token"], mae.encoder.cls_token)


def test_evaluations_of_two_models_in_one_file_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": official_classifier()}, "plain.pth")
    assert main(["convert", "plain.pth", "told.pth", "--to", "official", "--set", "backbone.num_heads=2"]) == 0
    content = torch.load("told.pth", weights_only=True)
    torch.save(content | {"model_ema": more(content["model"])}, "both.pth")
    words = ["data=scene_classes", "data.num_classes=5"]
    plain, average = (plan_evaluation(tmp_path / f"both.pth{word}", words, "best") for word in ("", "@ema"))
    assert plain.weights == average.weights  # of one file
    assert plain.fingerprint != average.fingerprint


def official_classifier():
    return to_layout(randomise(make_classifier()).state_dict(), "official").tensors


def test_a_file_of_ours_with_a_strange_name_in_it_is_no_other_programs(tmp_path, mae):
    torch.save({"model": mae.state_dict() | {"layers.0": torch.zeros(1)}}, tmp_path / "file.pt")
    with pytest.raises(UserError, match="in no known layout"):
        read_checkpoint(tmp_path / "file.pt")
