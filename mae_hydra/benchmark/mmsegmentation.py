"""mmsegmentation itself as a peer, where its Python files can be imported: its own modules with our weights.

Its maintained fork installs beside a current torch, without its compiled operators:

    MMCV_WITH_OPS=0 pip install --no-deps --requirement tests/peers.txt
    mae-hydra benchmark step model=upernet_vitb data=ade20k
"""

import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mae_hydra.benchmark.peers import OfOthers
from mae_hydra.inference.resize import resize_image, resized_size, size_of
from mae_hydra.models import Segmenter, UPerHead, VisionTransformer
from mae_hydra.types import Batch
from mae_hydra.weights.layouts.mmseg import UPERNET


@cache
def import_mmsegmentation() -> Any | None:
    """The package `mmseg`, its compiled operators (which this model does not use) replaced by names; None without."""
    if not all(importlib.util.find_spec(name) for name in ("mmengine", "mmcv", "mmseg")):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmcv

        mmcv.__version__ = "2.1.0"  # 1.2.2 refuses what is newer
        operators = types.ModuleType("mmcv.ops")
        operators.__path__ = []
        operators.__getattr__ = _operator  # type: ignore[method-assign]
        for name in ("mmcv.ops", "mmcv.ops.point_sample"):
            sys.modules.setdefault(name, operators)
        import mmseg
        import mmseg.models
    return mmseg


def _operator(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (nn.Module,), {})


def segmentor(model: Any) -> Any:
    """mmsegmentation's EncoderDecoder of the form and with the weights of `model`, on the CPU.

    None where it cannot be imported, or has no such form: it takes squares and relative positions, and convolves after
    the enlarging whatever `model` does.
    """
    if not (isinstance(model.encoder, VisionTransformer) and isinstance(model.head, UPerHead)):
        return None
    encoder: Any = model.encoder
    square = encoder.image_size[0] == encoder.image_size[1]
    scaled = encoder.relative_position_index is not None and encoder.blocks[0].gamma_1 is not None
    if import_mmsegmentation() is None or not (square and scaled) or model.auxiliary is None:
        return None
    from mmengine.config import ConfigDict
    from mmseg.models.segmentors import EncoderDecoder

    norm = {"type": "BN", "requires_grad": True}
    head = {"num_classes": model.num_classes, "norm_cfg": norm, "align_corners": False}
    pools: Any = model.head.pools
    width, crop = encoder.embed_dim, encoder.image_size[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = EncoderDecoder(
            backbone={
                "type": "MAE", "img_size": crop, "patch_size": encoder.patch_size, "in_channels": encoder.in_chans,
                "embed_dims": width, "num_layers": len(encoder.blocks), "num_heads": encoder.num_heads,
                "mlp_ratio": encoder.blocks[0].mlp.fc1.out_features // width, "out_indices": list(encoder.out_indices),
                "init_values": 1.0, "norm_eval": False, "norm_cfg": {"type": "LN", "eps": 1e-6},
                "drop_path_rate": getattr(encoder.blocks[-1].drop_path, "rate", 0.0),
            },
            neck={"type": "Feature2Pyramid", "embed_dim": width, "rescales": [4, 2, 1, 0.5], "norm_cfg": norm},
            decode_head={
                "type": "UPerHead", "in_channels": [width] * 4, "in_index": [0, 1, 2, 3],
                "pool_scales": tuple(pool[0].output_size for pool in pools),
                "channels": model.head.fuse.conv.out_channels, "dropout_ratio": model.head.dropout.p,
                "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}, **head,
            },
            auxiliary_head={
                "type": "FCNHead", "in_channels": width, "in_index": 2, "num_convs": 1, "concat_input": False,
                "channels": model.auxiliary.conv.conv.out_channels, "dropout_ratio": model.auxiliary.dropout.p,
                "loss_decode": {
                    "type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": model.auxiliary_weight
                }, **head,
            },
            test_cfg=ConfigDict(mode="slide", crop_size=(crop, crop), stride=(int(crop * 0.6667),) * 2),
        )  # fmt: skip
    peer.load_state_dict(UPERNET.from_native({name: value.cpu() for name, value in model.state_dict().items()}))
    return peer


def mmsegmentation_step(model: Segmenter, settings: OfOthers, batch: Batch, lr: float) -> Callable[[], None] | None:
    """A training step as its runner makes it, loading left out; None where there is no such peer."""
    peer = segmentor(model)
    if peer is None:
        return None
    peer.to(settings.torch_device).train()
    optimizer = torch.optim.AdamW(peer.parameters(), lr=lr, weight_decay=0.05)
    batch = batch.to(settings.torch_device)
    samples = samples_of(batch.labels)

    def step() -> None:
        optimizer.zero_grad()
        with settings.autocast():
            loss, _ = peer.parse_losses(peer.loss(model.prepare(batch.images), samples))
        loss.backward()
        optimizer.step()
        loss.item()  # as its logger does

    return step


def samples_of(labels: Tensor | None) -> list[Any]:
    """Class maps (B, H, W) as its heads take them."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for label in () if labels is None else labels:
        samples.append(SegDataSample())
        samples[-1].gt_sem_seg = PixelData(data=label.long()[None])
    return samples


def mmsegmentation_classes(peer: Any, model: Segmenter, image: Tensor, short: int) -> Tensor:
    """The class map uint8 (H, W) of an image uint8 (C, H, W) by its own sliding windows; normalised as `model` does."""
    image = image.to(next(peer.parameters()).device)
    resized = model.prepare(resize_image(image, resized_size(size_of(image), short, 4.0))[None])
    scores = interpolate(peer.slide_inference(resized, [{}]), size=size_of(image), mode="bilinear")
    return scores[0].argmax(0).to(torch.uint8)
