import math

import pytest
import torch
from tiny_models import decoder, encoder, relative_encoder, upernet


def linears(model):
    return {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}


@pytest.mark.parametrize("build", [lambda: encoder(embed_dim=96), lambda: decoder(embed_dim=96)])
def test_linears_fill_the_xavier_interval_of_their_own_fans_and_have_no_bias(build):
    found = linears(build())
    assert any(name.endswith("qkv") for name in found)
    for name, linear in found.items():
        fan_out, fan_in = linear.weight.shape  # the fused qkv counts as one Linear with 3D outputs
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert 0.97 * bound < linear.weight.abs().max() <= bound, name
        assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
        assert not linear.bias.any(), name


def test_the_patch_projection_is_xavier_as_a_linear_and_its_bias_is_the_default_of_a_convolution():
    projection = encoder(embed_dim=96).patch_embed.proj
    fan_in = 3 * 8 * 8
    bound = math.sqrt(6 / (fan_in + 96))
    assert 0.97 * bound < projection.weight.abs().max() <= bound
    assert 0 < projection.bias.abs().max() <= 1 / math.sqrt(fan_in)
    assert projection.bias.std().item() == pytest.approx(1 / math.sqrt(3 * fan_in), rel=0.25)


def test_tokens_start_normal_and_norms_as_the_identity():
    for token in (encoder(embed_dim=768, num_heads=12).cls_token, decoder(embed_dim=768).mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(token.mean().item()) < 0.003
    for model in (encoder(), decoder()):
        norms = [part for part in model.modules() if isinstance(part, torch.nn.LayerNorm)]
        assert len(norms) > 4
        assert all(bool((norm.weight == 1).all()) and not norm.bias.any() for norm in norms)
        assert {norm.eps for norm in norms} == {1e-6}


def test_the_relative_form_starts_as_beit_does():
    model = relative_encoder(embed_dim=96)
    for index, block in enumerate(model.blocks):
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for branch in (block.attn.proj, block.mlp.fc2):
            assert branch.weight.std().item() == pytest.approx(0.02 / math.sqrt(2 * (index + 1)), rel=0.05)
        assert not block.attn.relative_position_bias_table.any()
        assert bool((block.gamma_1 == 1).all())
        assert bool((block.gamma_2 == 1).all())


def test_the_segmentation_heads_start_kaiming_by_fan_out_and_classify_near_zero():
    model = upernet()
    blocks = [part for name, part in model.named_modules() if name.endswith(".conv") and hasattr(part, "kernel_size")]
    assert len(blocks) == 4 + 1 + 3 + 3 + 1 + 1
    for conv in blocks:
        deviation = math.sqrt(2 / (conv.out_channels * conv.kernel_size[0] ** 2))
        assert conv.weight.std().item() == pytest.approx(deviation, rel=0.2)
        assert conv.bias is None
    for head in (model.head, model.auxiliary):
        assert head.classify.weight.std().item() == pytest.approx(0.01, rel=0.35)
        assert not head.classify.bias.any()
