"""Convolving before resizing, against resizing before convolving."""

import pytest
import torch
from torch.nn.functional import conv2d, interpolate

from mae_hydra.models.segmentation.resized_convolution import (
    add_resized_convolution,
    convolve_resized,
    resize_matrix,
    resizing,
    tap_weights,
)

SIZES = [
    ((4, 6), (8, 12)),
    ((2, 3), (16, 24)),
    ((1, 1), (5, 4)),
    ((3, 6), (16, 16)),
    ((7, 5), (7, 5)),
    ((9, 4), (5, 4)),
]


def build(source, target, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 5, *source, generator=generator, dtype=dtype)
    weight = torch.randn(3, 5, 3, 3, generator=generator, dtype=dtype)
    matrices = resizing(source, target, dtype=dtype, device=maps.device)
    return maps, weight, matrices


def straightforward(maps, weight, target):
    return conv2d(interpolate(maps, size=target, mode="bilinear", align_corners=False), weight, padding=1)


def ours(maps, weight, matrices, target):
    total = torch.zeros(2, *target, 3, dtype=maps.dtype)
    return add_resized_convolution(total, maps.permute(0, 2, 3, 1), tap_weights(weight), matrices).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_order_of_resizing_and_convolving_does_not_matter_borders_included(source, target):
    maps, weight, matrices = build(source, target)
    expected = straightforward(maps, weight, target)
    found = ours(maps, weight, matrices, target)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    border = torch.ones(target, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    torch.testing.assert_close(found[..., border], expected[..., border], rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_the_straightforward_order():
    source, target = (4, 6), (8, 12)
    maps, weight, matrices = build(source, target)
    gradients = []
    for compute in (lambda *given: straightforward(*given, target), lambda *given: ours(*given, matrices, target)):
        given = maps.clone().requires_grad_(), weight.clone().requires_grad_()
        compute(*given).square().sum().backward()
        gradients.append([tensor.grad for tensor in given])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_shares_add_up_to_one_and_equal_torchs_bilinear_resizing():
    matrix = resize_matrix(5, 13, dtype=torch.float64, device=torch.device("cpu"))
    assert torch.equal(matrix.sum(1), torch.ones(13, dtype=torch.float64))
    expected = interpolate(torch.eye(5, dtype=torch.float64)[None], size=13, mode="linear", align_corners=False)[0].T
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-12)


def test_shares_of_the_pyramids_sizes_are_exact_even_in_bfloat16():
    for source in (16, 32, 64):
        exact = resize_matrix(source, 128, dtype=torch.float64, device=torch.device("cpu"))
        assert torch.equal(exact, exact.bfloat16().double())


def test_it_adds_to_what_is_there():
    maps, weight, matrices = build((4, 6), (8, 12))
    total = torch.randn(2, 8, 12, 3, dtype=torch.float64)
    before = total.clone()
    found = add_resized_convolution(total, maps.permute(0, 2, 3, 1), tap_weights(weight), matrices)
    torch.testing.assert_close(found - before, ours(maps, weight, matrices, (8, 12)).permute(0, 2, 3, 1))
    assert torch.equal(total, before)


def test_maps_of_several_sizes_are_one_convolution_with_its_gradients():
    generator = torch.Generator().manual_seed(0)
    sizes, widths = [(8, 12), (4, 6), (3, 2), (1, 1)], [3, 5, 2, 4]
    maps = [
        torch.randn(2, width, *size, generator=generator, dtype=torch.float64)
        for size, width in zip(sizes, widths, strict=True)
    ]
    weight = torch.randn(6, sum(widths), 3, 3, generator=generator, dtype=torch.float64)

    def enlarged_first(weight, maps):
        sized = [interpolate(level, size=sizes[0], mode="bilinear", align_corners=False) for level in maps]
        return conv2d(torch.cat(sized, 1), weight, padding=1)

    results = []
    for compute in (enlarged_first, convolve_resized):
        given = [tensor.clone().requires_grad_() for tensor in (weight, *maps)]
        found = compute(given[0], given[1:])
        found.square().sum().backward()
        results.append([found.detach(), *(tensor.grad for tensor in given)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
