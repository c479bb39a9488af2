"""The configuration of a file that carries none: what its weights tell, and what is taken where they do not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import make_classifier, make_encoder, make_mae, make_patch_segmenter, make_upernet

from mae_hydra.errors import UserError
from mae_hydra.recorded import infer_configuration
from mae_hydra.recorded.infer_configuration import _taps, configuration_of, encoder_overrides, overrides_of
from mae_hydra.weights import Checkpoint, describe

HEADS = ["backbone.num_heads=2", "head.num_heads=2"]


def holding(model: torch.nn.Module, **meta: object) -> Checkpoint:
    return Checkpoint(model.state_dict(), dict(meta), "", Path("a.pt"))


def words_of(checkpoint: Checkpoint) -> dict[str, str]:
    pairs = (word.partition("=") for word in overrides_of(checkpoint, HEADS))
    return {key: value for key, _, value in pairs}


def test_a_masked_autoencoder_of_unknown_making_is_one_of_the_paper() -> None:
    found = words_of(holding(make_mae()))
    expected = {
        "model": "mae_vitb", "data": "imagenet", "model.norm_pix": "true", "model.mask_ratio": "0.75",
        "data.mean": "[0.485,0.456,0.406]", "data.std": "[0.229,0.224,0.225]", "data.channels": "3",
        "data.image_size": "[32,32]", "backbone.patch_size": "8", "backbone.embed_dim": "16", "backbone.depth": "4",
        "backbone.mlp_ratio": "2.0", "backbone.out_indices": "[0,1,2,3]", "backbone.relative_position_bias": "false",
        "backbone.layer_scale": "null", "backbone.final_norm": "true", "head.embed_dim": "8", "head.depth": "1",
    }  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected
    told = words_of(holding(make_mae(), norm_pix=False, mask_ratio=0.6))
    assert told["model.norm_pix"] == "false"
    more = words_of(holding(make_mae(in_chans=4)))
    assert (more["data.mean"], more["data.std"]) == ("[0.5,0.5,0.5,0.5]", "[0.25,0.25,0.25,0.25]")
    told = words_of(holding(make_mae(in_chans=4), mean=[0.1] * 3, std=[0.2] * 4))  # a mean of other pictures
    assert (told["data.mean"], told["data.std"]) == ("[0.5,0.5,0.5,0.5]", "[0.2,0.2,0.2,0.2]")


def test_a_segmentation_model_of_ade20k_reads_its_labels_reduced() -> None:
    for classes, reduced in ((150, "true"), (5, "false")):
        words = overrides_of(holding(make_upernet(num_classes=classes)), ["head.pool_scales=[1,2]"])
        found = dict(word.split("=", 1) for word in words)
        assert (found["data.num_classes"], found["data.reduce_zero_label"]) == (str(classes), reduced)
        assert (found["inference"], found["head.channels"], found["model.auxiliary.channels"]) == ("slide", "8", "8")
        assert (found["backbone.num_heads"], found["backbone.layer_scale"]) == ("2", "1.0")
    with pytest.raises(UserError, match=r"does not tell the scales at which its head pools; add head\.pool_scales=…"):
        overrides_of(holding(make_upernet()))


def test_classifiers_and_probes_are_told_by_their_last_layers() -> None:
    one = ["backbone.num_heads=2"]
    for model, expected in (
        (make_classifier(), ("classifier_vitb", "5", "mean", "true", "false", "false")),
        (make_classifier("cls"), ("classifier_vitb", "5", "cls", "false", "false", "true")),
        (make_classifier("cls", batch_norm=True), ("probe_vitb", "5", "cls", "false", "true", "true")),
    ):
        found = dict(word.split("=", 1) for word in overrides_of(holding(model), one))
        keys = ("model", "data.num_classes", "model.pool", "head.norm", "head.batch_norm", "backbone.final_norm")
        assert tuple(found[key] for key in keys) == expected
        assert found["data"] == "imagenet"
    with pytest.raises(UserError, match=r"a\.pt holds a segmentation of patches and no configuration"):
        overrides_of(holding(make_patch_segmenter()), one)


def test_decoders_are_told_by_their_names_and_an_epsilon_is_of_both_parts() -> None:
    whole = dict(make_mae().state_dict())
    crossed = whole | {"decoder.blocks.0.attn.q.weight": torch.zeros(1), "decoder.block_weights": torch.zeros(2, 4)}
    alone = {name: value for name, value in crossed.items() if name != "decoder.embed.weight"}
    for tensors, head, blocks in (
        (whole, None, None),
        (crossed, "mae_cross_decoder", "4"),
        (alone, "crossmae_decoder", "3"),
    ):
        words = overrides_of(Checkpoint(tensors, {"layer_norm_eps": 1e-5}, "", Path("a.pt")), HEADS)
        found = dict(word.split("=", 1) for word in words)
        assert (found.get("head"), found.get("head.num_encoder_blocks")) == (head, blocks)
        assert (found["++backbone.norm_eps"], found["++head.norm_eps"]) == ("1e-05", "1e-05")
    for strange in ("decoder.wfm.weight", "decoder.dec_norms.0.weight"):
        with pytest.raises(UserError, match=r"a decoder whose parts have other names than ours; its encoder is whole"):
            overrides_of(Checkpoint(whole | {strange: torch.zeros(1)}, {}, "", Path("a.pt")), HEADS)
    usual = words_of(holding(make_mae(), layer_norm_eps=1e-6))
    assert not {"++backbone.norm_eps", "++head.norm_eps"} & usual.keys()
    whole = dict(make_upernet().state_dict())
    bare = {name: value for name, value in whole.items() if not name.startswith("auxiliary.")}
    words = overrides_of(Checkpoint(bare, {}, "", Path("a.pt")), ["seed=1", "head.pool_scales=[1,2]"])
    assert "model.auxiliary=null" in words
    four = {**bare, **{f"head.pools.{n}.1.conv.weight": torch.zeros(1) for n in range(4)}}
    assert "head.pool_scales=[1,2,3,6]" in overrides_of(Checkpoint(four, {}, "", Path("a.pt")))


def test_maps_are_tapped_at_thirds_and_the_half_as_published() -> None:
    assert [_taps(depth) for depth in (12, 24, 32, 4, 1)] == [
        [3, 5, 7, 11], [7, 11, 15, 23], [10, 15, 20, 31], [0, 1, 2, 3], [0]
    ]  # fmt: skip


def test_what_a_file_does_not_tell_is_asked_for_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, key in (([], "backbone.num_heads"), (HEADS[:1], "head.num_heads")):
        with pytest.raises(UserError, match=rf"a\.pt does not tell the number of attention heads .*; add {key}=…"):
            overrides_of(holding(make_mae()), words)
    asked: list[Any] = []
    checked: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(infer_configuration, "compose_config", asked.append)
        for words in (["seed=3"], []):
            with pytest.raises(UserError, match=r"add backbone\.num_heads=…"):
                overrides_of(holding(make_mae()), words)
    assert [each[-1] for each in asked] == ["seed=3"]  # where that is misspelt it is said, and not what is missing
    encoder = Checkpoint(
        {f"encoder.{name}": value for name, value in make_encoder().state_dict().items()}, {}, "", Path("a")
    )
    with monkeypatch.context() as patch:
        patch.setattr(infer_configuration, "check", lambda config: checked.append(config.backbone.num_heads))
        alone = configuration_of(encoder, HEADS[:1])
    assert (alone["model"] == alone["backbone"], checked) == (True, [2])
    config = configuration_of(holding(make_mae()), HEADS)
    assert (config["model"]["encoder"]["num_heads"], config["model"]["decoder"]["num_heads"]) == (2, 2)
    assert "hydra" not in config


def test_an_encoder_of_a_transfer_has_the_size_of_the_file() -> None:
    encoder = torch.nn.ModuleDict({"encoder": make_encoder(image_size=(32, 64), depth=6)})
    found = dict(word.split("=", 1) for word in encoder_overrides(describe(holding(encoder))))
    assert (found["backbone.depth"], found["backbone.out_indices"]) == ("6", "[1,2,3,5]")
    assert found["data.image_size"] == "[32,64]"
    assert "backbone.num_heads" not in found
