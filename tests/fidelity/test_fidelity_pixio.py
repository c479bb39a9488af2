"""Pixio's encoder against the one of Hugging Face's transformers and against timm's ViT with registers."""

import pytest
import torch
from agreement import FLOAT32, limit
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer as TimmViT
from tiny_models import encoder, scramble
from transformers import PixioBackbone, PixioConfig, PixioModel

from mae_hydra.models import VisionTransformer
from mae_hydra.models.pooling import pool_tokens
from mae_hydra.weights import to_layout
from mae_hydra.weights.resize import resize_positions

SIZES = {"base": (768, 12), "large": (1024, 16), "huge": (1280, 16)}  # width, heads


def pixio(width: int, heads: int, depth: int = 2, size: int | list[int] = 64, patch: int = 16) -> VisionTransformer:
    """With random values everywhere, the positions of class tokens included."""
    made = encoder(
        image_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads,
        out_indices=list(range(depth)), num_cls_tokens=8, norm_maps=True,
    )  # fmt: skip
    scramble(made)
    for name, tensor in made.named_parameters():
        if name.startswith("blocks.") and name.endswith("weight") and tensor.ndim == 2:
            tensor.data.div_(tensor.shape[1] ** 0.5 * 0.3)  # the stream keeps its size from block to block
    return made.eval()


def peer(ours: VisionTransformer, folder, cls=PixioModel):
    """Theirs, from our weights as a file in their layout."""
    config = PixioConfig(
        hidden_size=ours.embed_dim, num_hidden_layers=len(ours.blocks), num_attention_heads=ours.num_heads,
        image_size=ours.image_size[0], patch_size=ours.patch_size, out_indices=list(range(1, 1 + len(ours.blocks))),
    )  # fmt: skip
    config.save_pretrained(folder)
    state = {f"encoder.{name}": tensor for name, tensor in ours.state_dict().items()}
    save_file(to_layout(state, "huggingface").tensors, folder / "model.safetensors", {"format": "pt"})
    dtype = ours.cls_token.dtype
    made, told = cls.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    assert cls is PixioBackbone or not any(told.values())
    return made.eval()


def compare(ours, folder, name, most, agree):
    images = torch.randn(2, 3, *ours.image_size, dtype=ours.cls_token.dtype)
    with torch.no_grad():
        theirs, tokens = peer(ours, folder)(images), ours.tokens(images)
    agree(f"Pixio tokens = transformers', {name}", tokens, theirs.last_hidden_state, most)
    agree(
        f"Pixio mean of class tokens = transformers', {name}", pool_tokens(tokens, "cls", 8), theirs.pooler_output, most
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)])
def test_tokens_equal_those_of_transformers_pixio(size, dtype, agree, tmp_path):
    compare(pixio(*SIZES[size], depth=2 if size == "base" else 1, size=32).to(dtype), tmp_path, *limit(dtype), agree)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_whole_pixio_base_equals_transformers(dtype, agree, tmp_path):
    name, most = limit(dtype)
    compare(pixio(768, 12, depth=12, size=256).to(dtype), tmp_path, f"whole ViT-B/16, {name}", most, agree)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rectangles_equal_those_of_transformers(dtype, agree, tmp_path):
    """Theirs are resized in single precision; given their table, double agrees too."""
    square, oblong = pixio(48, 3).to(dtype), pixio(48, 3, size=[32, 96]).to(dtype)
    model = peer(square, tmp_path)
    images = torch.randn(2, 3, 32, 96, dtype=dtype)
    state = square.state_dict()
    theirs = model.embeddings.interpolate_pos_encoding(torch.empty(1, 8 + 12, 48), 32, 96).detach()
    ours = resize_positions(state["pos_embed"], (4, 4), (2, 6), 8)
    agree("Pixio positions, resized, = transformers', float32", ours, theirs, FLOAT32)
    oblong.load_state_dict(state | {"pos_embed": theirs if dtype == torch.float64 else ours})
    name, most = limit(dtype)
    with torch.no_grad():
        wanted = model(images).last_hidden_state
        agree(f"Pixio tokens of a rectangle = transformers', {name}", oblong.tokens(images), wanted, most)


def test_maps_behind_the_norm_equal_those_of_transformers_backbone(agree, tmp_path):
    """Once its second norm, which it leaves untrained, has been given the weights of the first."""
    ours = pixio(48, 3, depth=4).double()
    backbone = peer(ours, tmp_path, PixioBackbone)
    backbone.layernorm.load_state_dict(backbone.pixio.layernorm.state_dict())
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        theirs = backbone(images).feature_maps
        for own, its in zip(ours.feature_maps(images)[:3], theirs[:3], strict=True):
            agree("Pixio maps = transformers' backbone's, float64", own, its, limit(torch.float64)[1])
    assert len(theirs) == 4


def test_timm_computes_the_same_with_seven_registers(agree):
    ours = pixio(48, 3).double()
    exported = to_layout({f"encoder.{name}": value for name, value in ours.state_dict().items()}, "timm").tensors
    theirs = TimmViT(
        img_size=64, patch_size=16, embed_dim=48, depth=2, num_heads=3, reg_tokens=7, num_classes=0, global_pool=""
    )
    theirs.double().eval().load_state_dict(exported)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        agree("Pixio tokens = timm's, float64", ours.tokens(images), theirs.forward_features(images), 1e-10)
