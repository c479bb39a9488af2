"""There and back: every layout's tensors come out of ours as they went in, and peers read what we write."""

import pytest
import torch
from checkpoint_files import make_mae, make_upernet, randomise
from foreign_files import BASE, TINY, TINY_MMSEG, TINY_OFFICIAL, beit2mmseg, mmseg_upernet, official
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from transformers import ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

from mae_hydra.errors import UserError
from mae_hydra.weights import to_layout
from mae_hydra.weights.layouts import kind_of, recognise


def same(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in expected.items()
    )


def timm_vit():
    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2, mlp_ratio=2, num_classes=0, global_pool=""
    )


def timm_beit(**changes):
    settings = {"num_classes": 0, "global_pool": "", "use_abs_pos_emb": True, "use_rel_pos_bias": True} | changes
    return Beit(
        img_size=32,
        patch_size=8,
        embed_dim=16,
        depth=4,
        num_heads=2,
        mlp_ratio=2,
        qkv_bias=True,
        init_values=1.0,
        **settings,
    )


def huggingface(cls=ViTMAEForPreTraining):
    config = ViTMAEConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
        decoder_hidden_size=8,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    return cls(config)


ROUND_TRIPS = {  # target to write, what a file of it holds, kind
    "official full": ("official", official(**TINY_OFFICIAL), "mae"),
    "official encoder": ("official", official(**TINY), "encoder"),
    "official classifier": ("official", official(**TINY, head="classifier"), "classifier"),
    "official probe": ("official", official(**TINY, head="probe"), "probe"),
    "timm ViT": ("timm", randomise(timm_vit()).state_dict(), "encoder"),
    "timm ViT classifier": ("timm", official(**TINY, head="classifier"), "classifier"),
    "timm BEiT": ("timm", randomise(timm_beit()).state_dict(), "encoder"),
    "timm BEiT without positions": ("timm", randomise(timm_beit(use_abs_pos_emb=False)).state_dict(), "encoder"),
    "timm BEiT classifier": ("timm", randomise(timm_beit(num_classes=3, global_pool="avg")).state_dict(), "classifier"),
    "mmseg": ("mmseg", mmseg_upernet(**TINY_MMSEG), "segmentation"),
    "beit2mmseg of an encoder": ("mmseg", beit2mmseg(official(**TINY)), "encoder"),
    "beit2mmseg of a full MAE": ("mmseg", beit2mmseg(official(**TINY_OFFICIAL)), "mae"),
    "beit2mmseg of a classifier": ("mmseg", beit2mmseg(official(**TINY, head="classifier")), "classifier"),
    "native MAE": ("native", randomise(make_mae()).state_dict(), "mae"),
    "native UPerNet": ("native", randomise(make_upernet()).state_dict(), "segmentation"),
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_there_and_back_is_the_identity_on_tensors(case):
    target, state, kind = ROUND_TRIPS[case]
    native = recognise(state).to_native(state)
    assert kind_of(native) == kind
    export = to_layout(native, target)
    assert same(export.tensors, state)
    assert list(export.tensors) == list(state) or "timm" in case or "mmseg" in case  # in the order of the file
    assert export.left_out == ()


@pytest.mark.parametrize("target", ["official", "huggingface", "mmseg"])
def test_a_masked_autoencoder_survives_every_layout_that_can_hold_it(target):
    native = randomise(make_mae()).state_dict()
    tensors = to_layout(native, target).tensors
    assert same(recognise(tensors).to_native(tensors), native)


def test_huggingfaces_files_come_back_whatever_spelling_they_have():
    """The released files, what transformers 5 writes, and its modules' own names."""
    model = randomise(huggingface())
    native = recognise(model.state_dict()).to_native(model.state_dict())
    assert same(native, {name: native[name] for name in make_mae().state_dict()})
    released = to_layout(native, "huggingface").tensors
    assert "vit.encoder.layer.0.attention.attention.query.weight" in released
    assert "decoder.decoder_layers.0.layernorm_before.bias" in released
    assert same(to_layout(recognise(released).to_native(released), "huggingface").tensors, released)
    written = {name.replace("decoder_layers.", "decoder_encoder.layer."): value for name, value in released.items()}
    assert same(recognise(written).to_native(written), native)


@pytest.mark.parametrize("cls", [ViTMAEForPreTraining, ViTMAEModel])
def test_what_transformers_saves_is_read(tmp_path, cls):
    from mae_hydra.weights import describe, read_checkpoint

    model = randomise(huggingface(cls))
    model.save_pretrained(tmp_path / "saved")
    checkpoint = read_checkpoint(tmp_path / "saved")
    expected = recognise(model.state_dict()).to_native(model.state_dict())
    assert same(checkpoint.tensors, {name: expected[name] for name in checkpoint.tensors})
    assert checkpoint.tensors.keys() == expected.keys()
    description = describe(checkpoint)
    assert description.encoder.heads == 2  # from its config.json
    assert description.norm_pix is False


@pytest.mark.parametrize("eps", [1e-12, 1e-3])
@pytest.mark.parametrize("said", [True, False])
def test_a_hugging_face_model_computes_with_the_epsilon_that_its_config_tells(tmp_path, eps, said):
    """Their default is 1e-12, which a config may leave out; the released weights come with it."""
    import json

    import mae_hydra

    config = huggingface().config
    config.layer_norm_eps = eps
    peer = randomise(ViTMAEForPreTraining(config)).eval()
    peer.save_pretrained(tmp_path / "hf")
    written = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert written["layer_norm_eps"] == eps
    if not said:
        del written["layer_norm_eps"]
        (tmp_path / "hf" / "config.json").write_text(json.dumps(written))
    ours = mae_hydra.load(tmp_path / "hf")
    images, noise = 0.1 * torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    with torch.no_grad():
        found, expected = ours(images, noise=noise).prediction, peer(images, noise=noise).logits
    agrees = torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert agrees is (said or eps == 1e-12)


def test_timm_loads_what_is_written_for_it_and_computes_the_same():
    mae = randomise(make_mae()).eval()
    peer = timm_vit().eval()
    export = to_layout(mae.state_dict(), "timm")
    peer.load_state_dict(export.tensors)  # strict
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(peer.forward_features(images), mae.encoder.tokens(images))
    assert export.left_out == tuple(name for name in mae.state_dict() if name.startswith("decoder."))


def test_timms_beit_loads_the_encoder_of_a_upernet_and_computes_the_same():
    upernet = randomise(make_upernet()).eval().double()
    peer = timm_beit().double().eval()
    export = to_layout(upernet.state_dict(), "timm")
    lacking = peer.load_state_dict(export.tensors, strict=False)
    assert lacking.missing_keys == ["norm.weight", "norm.bias"]  # timm has one behind the last block, MAE none
    assert not lacking.unexpected_keys
    images = torch.randn(2, 3, 32, 32).double()
    with torch.no_grad():
        theirs = peer.forward_intermediates(images, indices=[0, 1, 2, 3], norm=False, intermediates_only=True)
        for mine, other in zip(upernet.encoder.feature_maps(images), theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)
    assert "encoder.blocks.0.attn.qkv.bias (key part)" in export.left_out


def test_the_full_size_state_of_mmsegmentation_has_289_entries():
    state = mmseg_upernet(**TINY_MMSEG | {"depth": 12})
    assert len(state) == 289
    assert same(to_layout(recognise(state).to_native(state), "mmseg").tensors, state)


def test_mmsegmentations_beit_backbone_is_read_with_a_key_bias_and_positions_of_zero():
    state = mmseg_upernet(**TINY_MMSEG)
    beit = {name: value for name, value in state.items() if "pos_embed" not in name}
    for index in range(4):
        query, _, value = beit.pop(f"backbone.layers.{index}.attn.qkv.bias").chunk(3)
        beit |= {f"backbone.layers.{index}.attn.q_bias": query, f"backbone.layers.{index}.attn.v_bias": value}
    native = recognise(beit).to_native(beit)
    assert native["encoder.pos_embed"].shape == (1, 17, 16)
    assert not native["encoder.pos_embed"].any()
    query, key, value = native["encoder.blocks.1.attn.qkv.bias"].chunk(3)
    assert not key.any()
    assert torch.equal(query, beit["backbone.layers.1.attn.q_bias"])
    assert to_layout(native, "mmseg").tensors.keys() == state.keys()  # written in the form of its MAE backbone


def test_a_plain_form_goes_into_a_plain_layout_only_where_it_computes_the_same():
    plain = {f"encoder.{name}": value for name, value in make_upernet().encoder.state_dict().items()}
    export = to_layout(plain, "official")  # tables still at zero, gammas at one
    assert len(export.left_out) == 3 * 4
    assert not any("gamma" in name or "relative" in name for name in export.tensors)
    trained = {f"encoder.{name}": value for name, value in randomise(make_upernet()).encoder.state_dict().items()}
    with pytest.raises(UserError, match=r"plain ViT and has no place for encoder\.blocks\.0\.gamma_1.*numbers change"):
        to_layout(trained, "official")


@pytest.mark.parametrize(
    ("state", "target", "message"),
    [
        (make_upernet().state_dict(), "official", "no place for a UPerNet; choose --to timm or mmseg or native"),
        (make_upernet().state_dict(), "huggingface", "no place for a UPerNet"),
        (make_mae().state_dict(), "caffe", "there is no layout 'caffe'; there are official, timm"),
        ({**make_mae().state_dict(), "encoder.extra": torch.zeros(1)}, "official", r"no place for encoder\.extra"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(state, target, message):
    with pytest.raises(UserError, match=message):
        to_layout(state, target)


@pytest.mark.slow
def test_full_size_files_go_through_every_layout():
    mae = official(**BASE, grid=14, decoder=(512, 8, 2048))
    assert len(mae) == 254
    assert sum(value.numel() for value in mae.values()) == 111_907_840
    segmenter = mmseg_upernet(**BASE, grid=32, heads=12, channels=768, auxiliary=256, classes=150)
    assert len(segmenter) == 289
    learned = [v for n, v in segmenter.items() if not n.endswith(("_index", "_mean", "_var", "_tracked"))]
    assert sum(value.numel() for value in learned) == 163_877_228
    for state, target in ((mae, "official"), (segmenter, "mmseg")):
        native = recognise(state).to_native(state)
        assert same(to_layout(native, target).tensors, state)
    native = recognise(mae).to_native(mae)
    for target in ("huggingface", "mmseg"):
        tensors = to_layout(native, target).tensors
        assert same(recognise(tensors).to_native(tensors), native)
