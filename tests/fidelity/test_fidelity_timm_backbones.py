"""UPerNet on timm's BEiT, Swin and ConvNeXt, against mmsegmentation's own modules with the same weights.

Its ConvNeXt is mmpretrain's. How to install both says `test_fidelity_mmsegmentation.py`.
"""

import importlib
import importlib.util
import re
import sys
import types
import warnings
from collections.abc import Mapping

import pytest
import torch
from agreement import FLOAT64
from tiny_models import scramble
from torch import Tensor

from mae_hydra.benchmark.mmsegmentation import import_mmsegmentation
from mae_hydra.models import FeaturePyramid, Segmenter, TimmEncoder, UPerHead
from mae_hydra.weights.layouts.mmseg import UPERNET
from mae_hydra.weights.layouts.names import from_native

pytestmark = pytest.mark.slow
CLASSES, CHANNELS = 7, 16
BEIT = (  # theirs, ours
    ("patch_embed.projection", "patch_embed.proj"),
    ("layers.", "blocks."),
    (".ln1.", ".norm1."),
    (".ln2.", ".norm2."),
    (".ffn.layers.0.0.", ".mlp.fc1."),
    (".ffn.layers.1.", ".mlp.fc2."),
)
SWIN = (
    ("patch_embed.projection", "patch_embed.proj"),
    ("stages.", "layers."),
    (".attn.w_msa.", ".attn."),
    (".ffn.layers.0.0.", ".mlp.fc1."),
    (".ffn.layers.1.", ".mlp.fc2."),
)
CONVNEXT = (
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages\.(\d+)\.blocks\.", r"stages.\1."),
    (r"\.conv_dw\.", ".depthwise_conv."),
    (r"\.mlp\.fc(\d)\.", r".pointwise_conv\1."),
)


@pytest.fixture(scope="module", autouse=True)
def mmseg():
    module = import_mmsegmentation()
    if module is None:
        pytest.skip("mmsegmentation is not installed; the head of test_fidelity_mmsegmentation.py says how")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own code
        yield module


def theirs_of(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in pairs:
        name = name.replace(ours, theirs)
    return name


def unfolded(tensor: Tensor) -> Tensor:
    """The inputs of timm's patch merging, (column, row, channel), in the order of Unfold, (channel, row, column)."""
    return tensor.unflatten(-1, (2, 2, -1)).permute(*range(tensor.ndim - 1), -1, -2, -3).flatten(-3)


def of_swin(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm merges patches at the beginning of a stage, mmsegmentation at the end of the one before."""
    found = {}
    for name, tensor in state.items():
        merging = re.fullmatch(r"layers\.(\d+)\.downsample\.(norm|reduction)\.(weight|bias)", name)
        if merging:
            found[f"stages.{int(merging[1]) - 1}.downsample.{merging[2]}.{merging[3]}"] = unfolded(tensor)
        elif not name.endswith("attn_mask"):
            found[theirs_of(name, SWIN)] = tensor
    return found


def segmenter(encoder: TimmEncoder, channels: int) -> Segmenter:
    widths = encoder.widths[0] if len(set(encoder.widths)) == 1 else encoder.widths
    head = UPerHead(in_dim=widths, channels=channels, num_classes=CLASSES, pool_scales=[1, 2, 3, 6], dropout=0.0)
    pyramid = FeaturePyramid(dim=widths)
    return Segmenter(encoder=encoder, head=head, pyramid=pyramid, mean=[0.5] * 3, std=[0.25] * 3)


def their_head(widths: list[int]):
    from mmseg.models.decode_heads import UPerHead

    return UPerHead(
        in_channels=widths, in_index=[0, 1, 2, 3], pool_scales=(1, 2, 3, 6), channels=CHANNELS, dropout_ratio=0,
        num_classes=CLASSES, norm_cfg={"type": "BN", "requires_grad": True}, align_corners=False,
        loss_decode={"type": "CrossEntropyLoss", "use_sigmoid": False, "avg_non_ignore": True},
    )  # fmt: skip


def compared(model: Segmenter, backbone, neck, state: dict[str, Tensor], what: str, agree) -> None:
    """Both get the same weights, theirs strictly; maps and logits agree, in evaluation and in training."""
    head = their_head(list(model.encoder.widths))
    rest = from_native({k: v for k, v in model.state_dict().items() if not k.startswith("encoder.")}, UPERNET.pairs)
    parts = {"backbone": backbone, "decode_head": head} | ({} if neck is None else {"neck": neck})
    for part, module in parts.items():
        own = (
            state
            if part == "backbone"
            else {k.removeprefix(f"{part}."): v for k, v in rest.items() if k.startswith(part)}
        )
        module.double().load_state_dict(own, strict=part != "backbone")
    missing = set(backbone.state_dict()) - set(state)
    assert all("relative_position_index" in name or "attn_mask" in name for name in missing), missing
    side = (model.encoder.image_size or (96, 96))[0]
    images = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for training in (False, True):
        model.train(training)
        for module in parts.values():
            module.train(training)
        with torch.no_grad():
            maps = backbone(images)
            for ours, its in zip(model.encoder.feature_maps(images), maps, strict=True):
                agree(f"{what} maps = mmsegmentation's, float64", ours, its, FLOAT64)
            expected = head(maps if neck is None else neck(maps))
            found = model.low_resolution_logits(images)
        agree(f"UPerNet on {what} = mmsegmentation's, float64", found, expected, FLOAT64)


def test_on_beit_maps_and_logits_are_mmsegmentations(agree):
    from mmseg.models.backbones import BEiT
    from mmseg.models.necks import Feature2Pyramid

    encoder = TimmEncoder(
        model_name="beit_base_patch16_224", image_size=64, in_chans=3, embed_dim=768, out_indices=[3, 5, 7, 11]
    )
    model = segmenter(encoder, CHANNELS).double()
    scramble(model)
    theirs = BEiT(
        img_size=(64, 64), patch_size=16, embed_dims=768, num_layers=12, num_heads=12, out_indices=[3, 5, 7, 11],
        qv_bias=True, init_values=0.1, norm_cfg={"type": "LN", "eps": 1e-6},
    )  # fmt: skip
    neck = Feature2Pyramid(embed_dim=768, rescales=[4, 2, 1, 0.5], norm_cfg={"type": "BN", "requires_grad": True})
    state = {theirs_of(name, BEIT): value for name, value in encoder.model.state_dict().items()}
    compared(model, theirs, neck, state, "BEiT", agree)


def test_on_swin_maps_and_logits_are_mmsegmentations(agree):
    """At crops whose last map is larger than a window: of one window, which 224 pixels are, theirs is shifted too."""
    from mmseg.models.backbones import SwinTransformer

    encoder = TimmEncoder(
        model_name="swin_tiny_patch4_window7_224", image_size=448, in_chans=3, embed_dim=[96, 192, 384, 768],
        map_norms=True,
    )  # fmt: skip
    model = segmenter(encoder, CHANNELS).double()
    scramble(model)
    theirs = SwinTransformer(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.0)
    assert encoder.norms is not None
    norms = {f"norm{name}": value for name, value in encoder.norms.state_dict().items()}
    compared(model, theirs, None, of_swin(encoder.model.state_dict()) | norms, "Swin", agree)


def mmpretrains_convnext():
    """The class, from its file alone: the package as a whole imports a hundred models and what these want."""
    spec = importlib.util.find_spec("mmpretrain")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("mmpretrain is not installed; the head of test_fidelity_mmsegmentation.py says how")
    for name in ("mmpretrain", "mmpretrain.models", "mmpretrain.models.backbones"):
        package = types.ModuleType(name)
        package.__path__ = ["/".join([*spec.submodule_search_locations, *name.split(".")[1:]])]
        sys.modules.setdefault(name, package)
    return importlib.import_module("mmpretrain.models.backbones.convnext").ConvNeXt


def test_on_convnext_maps_and_logits_are_mmsegmentations(agree):
    encoder = TimmEncoder(
        model_name="convnext_tiny", image_size=64, in_chans=3, embed_dim=[96, 192, 384, 768], map_norms=True
    )
    model = segmenter(encoder, CHANNELS).double()
    scramble(model)
    theirs = mmpretrains_convnext()(
        arch="tiny", out_indices=[0, 1, 2, 3], layer_scale_init_value=1.0, gap_before_final_norm=False
    )
    state = {}
    for name, value in encoder.model.state_dict().items():
        for ours, its in CONVNEXT:
            name = re.sub(ours, its, name)
        state[name] = value
    assert encoder.norms is not None
    norms = {f"norm{name}": value for name, value in encoder.norms.state_dict().items()}
    compared(model, theirs, None, state | norms, "ConvNeXt", agree)
