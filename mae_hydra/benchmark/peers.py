"""What others compute for the same task, where it is installed, with our weights."""

from collections.abc import Callable
from typing import Any

import torch

from mae_hydra.engine import Settings
from mae_hydra.models import MAE
from mae_hydra.types import Batch
from mae_hydra.weights import to_layout


def huggingface_step(model: MAE, settings: Settings, batch: Batch, lr: float) -> Callable[[], None] | None:
    """A training step of Hugging Face's ViTMAE as its users write it; None where transformers is not installed."""
    try:
        from transformers import ViTMAEConfig, ViTMAEForPreTraining
    except ImportError:
        return None
    encoder: Any = model.encoder
    decoder: Any = model.decoder
    if encoder.image_size[0] != encoder.image_size[1]:
        return None  # it takes squares only
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
