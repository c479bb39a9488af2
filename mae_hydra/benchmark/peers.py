"""What others compute for the same task, where it is installed, with our weights."""

from collections.abc import Callable
from copy import deepcopy
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from mae_hydra.benchmark.plain_mae import PlainMAE
from mae_hydra.engine import Settings
from mae_hydra.models import MAE, Segmenter
from mae_hydra.models.encoders.attention import RelativeAttention
from mae_hydra.models.segmentation.segmenter import AUXILIARY_LEVEL
from mae_hydra.models.segmentation.upernet_head import resize
from mae_hydra.types import Batch
from mae_hydra.weights import to_layout


class OfOthers:
    """Where and how precisely others compute: as `settings` says at the time of a call."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def torch_device(self) -> torch.device:
        return self.settings.torch_device

    def autocast(self) -> torch.autocast:
        return self.settings.autocast()


def plain_mae_step(model: MAE, settings: OfOthers, batch: Batch, lr: float) -> Callable[[], None] | None:
    """A training step of the model written with timm's parts, in the usual way; None where it masks otherwise."""
    if model.masking != "random":
        return None
    peer = PlainMAE(model).to(settings.torch_device).train()
    optimizer = torch.optim.AdamW(peer.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.05)
    images = batch.images.to(settings.torch_device)

    def step() -> None:
        optimizer.zero_grad()
        with settings.autocast():
            loss = peer(model.prepare(images))
        loss.backward()
        optimizer.step()
        loss.item()  # the usual check that it is finite

    return step


def plain_upernet_step(model: Segmenter, settings: OfOthers, batch: Batch, lr: float) -> Callable[[], None]:
    """A training step of `model` without shortcuts: attention written out, maps and logits enlarged first."""
    peer: Any = deepcopy(model)
    peer.head.low_resolution_first = False
    for module in peer.modules():
        if isinstance(module, RelativeAttention):
            module.forward = MethodType(_attention_written_out, module)  # type: ignore[method-assign]
    optimizer = torch.optim.AdamW(peer.parameters(), lr=lr, weight_decay=0.05)
    batch = batch.to(settings.torch_device)
    assert batch.labels is not None
    labels = batch.labels.long()
    cross_entropy = torch.nn.CrossEntropyLoss(ignore_index=model.ignore_index)

    def step() -> None:
        optimizer.zero_grad()
        with settings.autocast():
            levels = peer.pyramid(list(peer.features(batch)))
            loss = cross_entropy(resize(peer.head(levels), labels.shape[1:]), labels)
            if peer.auxiliary is not None:
                logits = peer.auxiliary(levels[AUXILIARY_LEVEL])
                loss = loss + peer.auxiliary_weight * cross_entropy(resize(logits, labels.shape[1:]), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def _attention_written_out(self: RelativeAttention, tokens: Tensor, positions: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v, one operation after the other."""
    q, k, v = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3) + self.relative_position_bias(positions)
    return self.proj((weights.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2))


def huggingface_step(model: MAE, settings: OfOthers, batch: Batch, lr: float) -> Callable[[], None] | None:
    """A training step of Hugging Face's ViTMAE as its users write it; None where transformers is not installed."""
    try:
        from transformers import ViTMAEConfig, ViTMAEForPreTraining
    except ImportError:
        return None
    encoder: Any = model.encoder
    decoder: Any = model.decoder
    if encoder.image_size[0] != encoder.image_size[1] or encoder.num_cls_tokens > 1:
        return None  # it takes squares only, and has one cls token
    config = ViTMAEConfig(
        hidden_size=encoder.embed_dim,
        num_hidden_layers=len(encoder.blocks),
        num_attention_heads=encoder.num_heads,
        intermediate_size=encoder.blocks[0].mlp.fc1.out_features,
        layer_norm_eps=1e-6,
        image_size=encoder.image_size[0],
        patch_size=encoder.patch_size,
        num_channels=encoder.in_chans,
        decoder_hidden_size=decoder.embed.out_features,
        decoder_num_hidden_layers=len(decoder.blocks),
        decoder_num_attention_heads=decoder.blocks[0].attn.num_heads,
        decoder_intermediate_size=decoder.blocks[0].mlp.fc1.out_features,
        mask_ratio=model.mask_ratio,
        norm_pix_loss=model.norm_pix,
    )
    peer: Any = ViTMAEForPreTraining(config)
    peer.to(settings.torch_device).train()
    _copy_positions(peer, to_layout(model.state_dict(), "huggingface").tensors)
    optimizer = torch.optim.AdamW(peer.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.05)
    images = batch.images.to(settings.torch_device)

    def step() -> None:
        optimizer.zero_grad()
        with settings.autocast():
            loss = peer(model.prepare(images)).loss
        loss.backward()
        optimizer.step()

    return step


def _copy_positions(peer: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """The position tables, which transformers leaves at zero when a model is built from a configuration."""
    own = dict(peer.named_parameters())
    for name in ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"):
        own[name].data.copy_(tensors[name])
