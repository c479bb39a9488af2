"""The masked autoencoder at the sizes of the paper, against the literal reference, timm and Hugging Face."""

import pytest
import reference
import torch
from agreement import FLOAT64, limit
from omegaconf import OmegaConf
from timm.models.vision_transformer import VisionTransformer as TimmViT
from tiny_models import scramble
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.tree import config_dir
from mae_hydra.models import MAE, MAEDecoder, VisionTransformer
from mae_hydra.types import Batch
from mae_hydra.weights import to_layout

SIZES = {  # width, heads, patch: what makes a block of the paper's models; two blocks of each stand for all
    "base": (768, 12, 16),
    "large": (1024, 16, 16),
    "huge": (1280, 16, 14),
}
SWEPT = OmegaConf.load(config_dir() / "sweep" / "mask_ratio.yaml").hydra.sweeper.params["model.mask_ratio"]
RATIOS = [float(ratio) for ratio in str(SWEPT).split(",")]


def masked_autoencoder(width, heads, patch, depth=2, decoder_depth=2, grid=4, **changes) -> MAE:
    size = grid * patch
    encoder = VisionTransformer(
        image_size=size,
        patch_size=patch,
        in_chans=3,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=4.0,
        out_indices=[depth - 1],
        drop_path_rate=0.0,
        positions="fixed",
        relative_position_bias=False,
        layer_scale=None,
        final_norm=True,
    )
    decoder = MAEDecoder(
        encoder_dim=width,
        embed_dim=512,
        depth=decoder_depth,
        num_heads=16,
        mlp_ratio=4.0,
        patch_size=patch,
        in_chans=3,
        image_size=size,
    )
    settings = {"mask_ratio": 0.75, "masking": "random", "norm_pix": True} | changes
    return MAE(encoder=encoder, decoder=decoder, mean=[0.5] * 3, std=[0.5] * 3, **settings)


def given(model: MAE, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    dtype = model.mean.dtype
    height, width = model.encoder.image_size
    return torch.randn(batch, 3, height, width, dtype=dtype), torch.rand(batch, model.encoder.num_patches, dtype=dtype)


@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=pytest.mark.slow if size in ("large", "huge") else ()) for size in SIZES]
)
def test_forward_losses_and_gradients_equal_the_reference(size, agree):
    width, heads, patch = SIZES[size]
    model = masked_autoencoder(width, heads, patch).double()
    scramble(model)
    images, noise = given(model)
    state = {name: value.clone().requires_grad_() for name, value in model.state_dict().items()}
    expected = reference.mae(images, state, noise, 4, patch, (heads, 16))
    agree("MAE prediction, float64", model(images, noise=noise).prediction, expected["prediction"], FLOAT64)
    model.norm_pix = False
    plain = model.loss(Batch(images), noise=noise)
    agree("MAE loss, plain pixels, float64", plain.total / plain.count, expected["plain_loss"], FLOAT64)
    model.norm_pix = True
    loss = model.loss(Batch(images), noise=noise)
    agree("MAE loss, normalised pixels, float64", loss.total / loss.count, expected["loss"], FLOAT64)
    (loss.total / loss.count).backward()
    expected["loss"].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            agree("MAE gradients, float64", parameter.grad, state[name].grad, FLOAT64)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)])
def test_every_mask_ratio_of_the_sweep_gives_the_loss_of_the_reference(ratio, dtype, agree):
    model = masked_autoencoder(48, 3, 16, depth=1, decoder_depth=1, grid=14, mask_ratio=ratio).to(dtype)
    images, noise = given(model)
    state = {name: value.double() for name, value in model.state_dict().items()}
    expected = reference.mae(images.double(), state, noise.double(), int(196 * (1 - ratio)), 16, (3, 16))
    loss = model.loss(Batch(images), noise=noise)
    name, most = limit(dtype)
    agree(f"MAE loss at every mask ratio of the sweep, {name}", loss.total / loss.count, expected["loss"], most)


@pytest.mark.slow
def test_the_whole_vit_base_equals_the_reference(agree):
    model = masked_autoencoder(768, 12, 16, depth=12, decoder_depth=8, grid=14).double()
    scramble(model)
    images, noise = given(model, batch=1)
    with torch.no_grad():
        expected = reference.mae(images, model.state_dict(), noise, 49, 16, (12, 16))
        loss = model.loss(Batch(images), noise=noise)
        agree(
            "MAE ViT-B/16 whole, prediction, float64",
            model(images, noise=noise).prediction,
            expected["prediction"],
            FLOAT64,
        )
        agree("MAE ViT-B/16 whole, loss, float64", loss.total / loss.count, expected["loss"], FLOAT64)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_encoder_without_masking_equals_timms_vit_base(dtype, agree):
    model = masked_autoencoder(768, 12, 16, depth=12, grid=14).to(dtype)
    scramble(model)
    peer = TimmViT(num_classes=0, global_pool="").to(dtype).eval()  # its defaults are ViT-B/16 at 224
    peer.load_state_dict(to_layout(model.state_dict(), "timm").tensors)
    images, _ = given(model, batch=1)
    name, most = limit(dtype)
    with torch.no_grad():
        theirs = peer.forward_features(images)
        agree(f"encoder without masking = timm ViT-B/16, {name}", model.encoder.tokens(images), theirs, most)


def huggingface(model: MAE, eps: float) -> ViTMAEForPreTraining:
    """Their model with our weights: its parameters take what our export names, in their order of q, k and v."""
    encoder, decoder = model.encoder, model.decoder
    config = ViTMAEConfig(
        hidden_size=encoder.embed_dim,
        num_hidden_layers=len(encoder.blocks),
        num_attention_heads=encoder.num_heads,
        intermediate_size=4 * encoder.embed_dim,
        layer_norm_eps=eps,
        image_size=encoder.image_size[0],
        patch_size=encoder.patch_size,
        decoder_hidden_size=512,
        decoder_num_hidden_layers=len(decoder.blocks),
        decoder_num_attention_heads=16,
        decoder_intermediate_size=2048,
        norm_pix_loss=model.norm_pix,
        mask_ratio=model.mask_ratio,
    )
    return ViTMAEForPreTraining(config).to(model.mean.dtype).eval()


def test_hugging_face_gives_our_numbers_from_our_weights(agree, tmp_path):
    model = masked_autoencoder(768, 12, 16).double()
    scramble(model)
    images, noise = given(model)
    peer = huggingface(model, eps=1e-6)
    peer.save_pretrained(tmp_path)  # for its config; the weights are then replaced by ours
    from safetensors.torch import save_file

    save_file(to_layout(model.state_dict(), "huggingface").tensors, tmp_path / "model.safetensors", {"format": "pt"})
    peer, told = ViTMAEForPreTraining.from_pretrained(tmp_path, dtype=torch.float64, output_loading_info=True)
    assert not any(told.values())
    assert peer.config.norm_pix_loss is True
    for norm_pix in (True, False):
        model.norm_pix = peer.config.norm_pix_loss = norm_pix
        with torch.no_grad():
            theirs, ours = peer(images, noise=noise), model(images, noise=noise)
            loss = model.loss(Batch(images), noise=noise)
        agree("Hugging Face ViTMAE with our weights, prediction, float64", ours.prediction, theirs.logits, FLOAT64)
        agree("Hugging Face ViTMAE with our weights, loss, float64", loss.total / loss.count, theirs.loss, FLOAT64)
        assert torch.equal(ours.hidden, theirs.mask.bool())


def test_hugging_faces_default_epsilon_gives_other_numbers(tmp_path):
    """1e-12 in place of MAE's 1e-6: small where variances are near 1, and no rounding error."""
    model = masked_autoencoder(48, 3, 16).double()
    images, noise = given(model)
    outputs = []
    for eps in (1e-6, 1e-12):
        peer = huggingface(model, eps)
        with torch.no_grad():
            ours = dict(peer.named_parameters())
            for name, value in _by_module_name(to_layout(model.state_dict(), "huggingface").tensors).items():
                ours[name].copy_(value)
            outputs.append(peer(images, noise=noise).logits)
    with torch.no_grad():
        torch.testing.assert_close(model(images, noise=noise).prediction, outputs[0], rtol=1e-10, atol=1e-10)
    assert (outputs[0] - outputs[1]).abs().max() > 1e-8


def _by_module_name(tensors):
    """transformers 5 calls its modules otherwise than its files."""
    renamed = {}
    for name, value in tensors.items():
        for theirs, inner in (
            ("vit.encoder.layer.", "vit.layers."),
            ("attention.attention.query", "attention.q_proj"),
            ("attention.attention.key", "attention.k_proj"),
            ("attention.attention.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ):
            name = name.replace(theirs, inner)
        renamed[name] = value
    return renamed


def test_the_composed_model_is_the_one_that_was_compared():
    """`model=mae_vitb` on 224 pixels: the sizes of the paper, and the epsilon of the original in every norm."""
    config = compose_config(["model=mae_vitb", "data=imagenet"])
    backbone, head = config.backbone, config.head
    assert (backbone.embed_dim, backbone.depth, backbone.num_heads, backbone.patch_size) == (768, 12, 12, 16)
    assert (head.embed_dim, head.depth, head.num_heads, config.model.mask_ratio) == (512, 8, 16, 0.75)
    norms = [m for m in masked_autoencoder(48, 3, 16).modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 2 * 2 + 2
    assert {norm.eps for norm in norms} == {1e-6}
