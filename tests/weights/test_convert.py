"""`mae-hydra convert` as it is typed, and models loaded from what others released."""

import json
import logging
import re
import shutil
from functools import partial

import pytest
import timm
import torch
from checkpoint_files import make_mae, make_upernet, randomise, write_run
from foreign_files import TINY, TINY_MMSEG, TINY_OFFICIAL, beit2mmseg, mmseg_upernet, official
from transformers import ViTMAEForPreTraining

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.models import MAE, Classifier, UPerNet, VisionTransformer
from mae_hydra.types import Batch
from mae_hydra.weights import read_checkpoint, transfer

MAE_HEADS = ["--set", "backbone.num_heads=2", "head.num_heads=2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a file of every kind."""
    folder = tmp_path_factory.mktemp("files")
    torch.save({"model": official(**TINY_OFFICIAL)}, folder / "full.pth")
    torch.save({"model": official(**TINY)}, folder / "encoder.pth")
    torch.save({"model": official(**TINY, head="classifier")}, folder / "classifier.pth")
    meta = {"CLASSES": tuple("abcde"), "PALETTE": [[n, n, n] for n in range(5)], "iter": 160000}
    torch.save({"meta": meta, "state_dict": mmseg_upernet(**TINY_MMSEG)}, folder / "upernet.pth")
    torch.save(beit2mmseg(official(**TINY)), folder / "beit2mmseg.pth")
    return folder


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    """A copy of it, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(files, tmp_path, dirs_exist_ok=True)


def test_a_released_upernet_becomes_a_checkpoint_of_ours_and_loads_either_way(folder, capsys):
    assert main(["convert", "upernet.pth", "ours.pt"]) == 0
    said = capsys.readouterr().out
    assert "mmsegmentation, UPerNet" in said
    assert "wrote ours.pt: mae_hydra" in said
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    direct, converted = mae_hydra.load("upernet.pth"), mae_hydra.load("ours.pt")
    assert isinstance(direct, UPerNet)
    with torch.no_grad():
        assert torch.equal(direct(images), converted(images))
    meta = read_checkpoint("ours.pt").meta
    assert meta["class_names"] == list("abcde")
    assert meta["palette"] == [[n, n, n] for n in range(5)]
    assert meta["step"] == 160000
    assert meta["config"]["model"]["head"]["num_classes"] == 5


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_masked_autoencoder_goes_to_every_layout_and_comes_back(folder, suffix, capsys):
    start = official(**TINY_OFFICIAL)
    others = (("huggingface", "b"), ("official", "d.pth")) if suffix == ".pt" else ()  # whose files have their names
    for target, output in (("native", f"a{suffix}"), ("mmseg", f"c{suffix}"), *others):
        assert main(["convert", "full.pth", output, "--to", target, *MAE_HEADS]) == 0
        could_tell = target in ("native", "huggingface")
        assert ("whether the targets were normalized" in capsys.readouterr().out) is could_tell
        back = read_checkpoint(output)
        assert back.kind == "mae"
        assert torch.equal(back.tensors["decoder.blocks.0.attn.qkv.weight"], start["decoder_blocks.0.attn.qkv.weight"])
    model = mae_hydra.load(f"a{suffix}")
    assert isinstance(model, MAE)
    assert model.encoder.num_heads == 2
    if others:
        assert json.loads((folder / "b" / "config.json").read_text())["layer_norm_eps"] == 1e-6


def test_hugging_face_opens_what_is_written_for_it_and_computes_the_same(folder):
    assert main(["convert", "full.pth", "out", "--to", "huggingface", "--norm-pix", "true", *MAE_HEADS]) == 0
    peer, told = ViTMAEForPreTraining.from_pretrained("out", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    ours = mae_hydra.load("out")
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    with torch.no_grad():
        theirs, loss = peer(images, noise=noise), ours.loss(Batch(images), noise=noise)
    torch.testing.assert_close(ours(images, noise=noise).prediction, theirs.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss.total / loss.count, theirs.loss)


def test_an_epsilon_of_hugging_face_is_kept_where_it_can_be_and_said_where_not(folder, capsys):
    assert main(["convert", "full.pth", "hf", "--to", "huggingface", "--norm-pix", "true", *MAE_HEADS]) == 0
    told = json.loads((folder / "hf" / "config.json").read_text())
    (folder / "hf" / "config.json").write_text(json.dumps(told | {"layer_norm_eps": 1e-6}))
    capsys.readouterr()
    assert main(["convert", "hf", "usual.pth", "--to", "official"]) == 0
    assert "to the variance" not in capsys.readouterr().out
    (folder / "hf" / "config.json").write_text(json.dumps(told | {"layer_norm_eps": 1e-5}))
    assert main(["convert", "hf", "ours.pt"]) == 0
    assert main(["convert", "ours.pt", "back", "--to", "huggingface"]) == 0
    assert json.loads((folder / "back" / "config.json").read_text())["layer_norm_eps"] == 1e-5
    model = mae_hydra.load("ours.pt")
    norms = [part for part in model.modules() if isinstance(part, torch.nn.LayerNorm)]
    assert len(norms) == 12
    assert {norm.eps for norm in norms} == {1e-5}
    capsys.readouterr()
    assert main(["convert", "hf", "official.pth", "--to", "official"]) == 0
    assert "its LayerNorms add 1e-05 to the variance, which the official layout cannot tell" in capsys.readouterr().out
    [remark] = transfer(make_mae(), read_checkpoint("hf")).remarks
    assert "LayerNorms of the file add 1e-05 to the variance, the model's 1e-06" in remark
    (folder / "hf" / "config.json").write_text(json.dumps(told | {"hidden_act": "relu"}))
    assert main(["convert", "hf", "never.pt"]) == 1
    assert "config.json says hidden_act=relu" in capsys.readouterr().err


def test_a_run_is_exported_with_its_own_heads(folder):
    model = randomise(make_mae(num_heads=4))
    write_run(folder / "run", model, num_heads=4, image_size=32, patch_size=8)
    assert main(["convert", "run", "out", "--to", "huggingface", "--set", "head.num_heads=2"]) == 0
    assert json.loads((folder / "out" / "config.json").read_text())["num_attention_heads"] == 4


def test_an_encoder_alone_loads_as_one(folder):
    for file in ("encoder.pth", "beit2mmseg.pth"):
        encoder = mae_hydra.load(file, "backbone.num_heads=2")
        assert isinstance(encoder, VisionTransformer)
        assert torch.equal(encoder.cls_token, official(**TINY)["cls_token"])
        assert len(encoder.feature_maps(torch.randn(1, 3, 32, 32))) == 4
    assert main(["convert", "encoder.pth", "encoder.pt", "--set", "backbone.num_heads=2"]) == 0
    assert isinstance(mae_hydra.load("encoder.pt"), VisionTransformer)


@pytest.mark.parametrize("pool", ["avg", "token"])
def test_a_fine_tuned_classifier_gives_the_logits_of_timms(folder, pool):
    state = official(**TINY, head="classifier")
    if pool == "token":
        state = {name.replace("fc_norm", "norm"): value for name, value in state.items()}
        torch.save({"model": state}, "classifier.pth")
    theirs = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2, mlp_ratio=2, num_classes=10, global_pool=pool,
        fc_norm=pool == "avg", norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    theirs.load_state_dict(state)
    ours = mae_hydra.load("classifier.pth", "backbone.num_heads=2")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.eval()(images), rtol=1e-4, atol=1e-5)


def test_a_linear_probe_is_built_and_gives_the_formulas_logits(folder):
    state = official(**TINY, head="probe")
    torch.save({"model": state}, "probe.pth")
    ours = mae_hydra.load("probe.pth", "backbone.num_heads=2")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        cls = ours.encoder.tokens(images)[:, 0]
        normed = (cls - state["head.0.running_mean"]) / (state["head.0.running_var"] + 1e-6).sqrt()
        torch.testing.assert_close(ours(images), normed @ state["head.1.weight"].T + state["head.1.bias"])


def test_a_classifier_changes_layouts(folder, capsys):
    assert main(["convert", "classifier.pth", "ours.pt", "--set", "backbone.num_heads=2"]) == 0
    assert isinstance(mae_hydra.load("ours.pt"), Classifier)
    assert main(["convert", "ours.pt", "back.pth", "--to", "official"]) == 0
    back = torch.load("back.pth")["model"]
    assert all(torch.equal(back[name], value) for name, value in official(**TINY, head="classifier").items())


def test_an_unknown_target_is_said_and_can_be_told(folder, capsys, caplog):
    with caplog.at_level(logging.WARNING, logger="mae_hydra"):
        assert mae_hydra.load("full.pth", "backbone.num_heads=2", "head.num_heads=2").norm_pix is True
    assert "taken as normalized" in caplog.text
    assert main(["convert", "full.pth", "a.pt", *MAE_HEADS]) == 0
    assert "note: whether the targets were normalized" in capsys.readouterr().out
    assert main(["convert", "full.pth", "b.pt", "--norm-pix", "false", *MAE_HEADS]) == 0
    assert "note:" not in capsys.readouterr().out
    assert mae_hydra.load("b.pt").norm_pix is False


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["nowhere.pth", "out.pt"], "there is no nowhere.pth"),
        (["full.pth"], "say where to write"),
        (["full.pth", "encoder.pth"], "encoder.pth is there already; give another name, or add --overwrite"),
        (["full.pth", "out.pt"], "does not tell the number of attention heads of its width; add backbone.num_heads=…"),
        (["upernet.pth", "out", "--to", "huggingface"], "no place for a UPerNet"),
        (["full.pth", "out.pth", "--to", "huggingface"], "is a folder with config.json"),
        (["full.pth", "no/such/out.pth"], "there is no folder"),
        (["full.pth", "out.pt", "--set", "backbone.num_head=2"], "did you mean 'backbone.num_heads'"),
        (["classifier.pth", "out.pt"], "does not tell the number of attention heads"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(folder, capsys, command, message):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["convert", *command]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_output_is_replaced_when_asked_and_what_else_was_there_is_kept(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "old").write_text("old")
    assert main(["convert", "full.pth", "out", "--to", "huggingface", "--overwrite", *MAE_HEADS]) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["config.json", "model.safetensors"]
    assert "kept  out.old: the folder that was there" in capsys.readouterr().out
    assert (folder / "out.old" / "old").read_text() == "old"  # nobody asked for its end
    assert main(["convert", "full.pth", "out", "--to", "huggingface", "--overwrite", *MAE_HEADS]) == 0
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "out"))) == ["out", "out.old"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.1.mlp.fc1.bias": torch.zeros(7)}, r"blocks\.1\.mlp\.fc1\.bias is \(7,\), expected \(32,\)"),
        ({"blocks.1.norm1.bias": None}, "it lacks encoder.blocks.1.norm1.bias"),
        ({"blocks.1.norm1.bias": torch.full((16,), float("nan"))}, "has NaN or infinite values"),
        ({"blocks.1.norm3.bias": torch.zeros(16)}, "it also has encoder.blocks.1.norm3.bias"),
    ],
)
@pytest.mark.parametrize("target", ["official", "native", "mmseg"])
def test_what_is_no_whole_model_is_not_converted(folder, capsys, change, message, target):
    state = {name: value for name, value in {**official(**TINY_OFFICIAL), **change}.items() if value is not None}
    torch.save(state, "broken.pth")
    assert main(["convert", "broken.pth", "out.pt", "--to", target, *MAE_HEADS]) == 1
    assert not (folder / "out.pt").exists()
    assert re.search(message, capsys.readouterr().err)


def test_inspect_tells_what_a_file_is_and_writes_nothing(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    before = sorted(path.name for path in folder.iterdir())
    expected = {
        "full.pth": [
            "official MAE, encoder and decoder",
            "masked autoencoder",
            "4x4 patches, images of 32x32",
            "heads unknown",
        ],
        "encoder.pth": ["timm ViT, encoder", "final norm", "official, timm, huggingface, mmseg, native"],
        "classifier.pth": ["classifier", "10 classes", "official, timm, mmseg, native"],
        "upernet.pth": ["5 classes, 8 channels, 4 pooling scales", "step 160000", "5: a, b, c, d, e", "LayerScale"],
        "beit2mmseg.pth": ["mmsegmentation, converted encoder"],
    }
    for file, pieces in expected.items():
        assert main(["convert", "--inspect", file]) == 0
        said = capsys.readouterr().out
        for piece in pieces:
            assert piece in said
    assert sorted(path.name for path in folder.iterdir()) == before


def test_inspect_names_a_diverged_training(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model = make_upernet()
    model.head.fuse.conv.weight.data.fill_(float("inf"))
    torch.save(model.state_dict(), "diverged.pt")
    assert main(["convert", "--inspect", "diverged.pt"]) == 0
    assert "head.fuse.conv.weight in diverged.pt has NaN or infinite" in capsys.readouterr().out
