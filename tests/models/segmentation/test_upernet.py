from types import SimpleNamespace
from unittest import mock

import pytest
import reference
import torch
import torch.nn.functional as F
from tiny_models import encoder, full_upernet, relative_encoder, scramble, upernet

from mae_hydra.errors import UserError
from mae_hydra.models import DPTHead, FCNHead, FeaturePyramid, LinearSegHead, Segmenter, UPerHead
from mae_hydra.models.segmentation import convolution, segmenter
from mae_hydra.models.segmentation.convolution import Enlarging
from mae_hydra.models.segmentation.fit import check_fit, check_loss
from mae_hydra.models.segmentation.losses import enlarged
from mae_hydra.models.segmentation.losses.cross_entropy import PixelCrossEntropy
from mae_hydra.types import Batch

SCALES = [1, 2, 3, 6]


def quiet(model):
    """Without the channel dropout, so that training mode is a function."""
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout2d):
            part.p = 0.0
    return model


def labels_of(shape, classes=5, seed=0):
    labels = torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))
    labels[:, : shape[1] // 4] = 255
    return labels


def expected_logits(model, images, training):
    """(decode, auxiliary) logits at their own sizes, from the state dict alone."""
    state = model.state_dict()
    maps = reference.feature_maps(images, reference.part(state, "encoder."), 8, 3, model.encoder.grid)
    levels = reference.pyramid(maps, reference.part(state, "pyramid."), training)
    decode = reference.upper_head(levels, reference.part(state, "head."), SCALES, training)
    return decode, reference.fcn_head(levels[2], reference.part(state, "auxiliary."), training)


def test_parameters_are_those_of_the_segmentation_model_by_part():
    model = full_upernet()
    with torch.device("meta"):
        auxiliary = FCNHead(in_dim=768, channels=256, num_classes=150, dropout=0.1)
    parts = (model.encoder, model.pyramid, model.head, auxiliary)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert counts == [87_023_424, 7_081_728, 67_963_542, 1_808_534]
    assert sum(counts) == 163_877_228
    model.auxiliary = auxiliary
    assert len(list(model.parameters())) == 235
    assert len(model.state_dict()) == 289 - 12  # the original also stores an index per block
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["encoder.pos_embed"] == (1, 1025, 768)
    assert shapes["encoder.blocks.0.attn.relative_position_bias_table"] == (3972, 12)
    assert shapes["encoder.blocks.0.attn.qkv.bias"] == (2304,)
    assert shapes["head.bottleneck.conv.weight"] == (768, 3840, 3, 3)
    assert shapes["head.fuse.conv.weight"] == (768, 3072, 3, 3)
    assert model.num_depths == 14


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("image_size", "channels"), [(32, 3), ([40, 24], 1)])
def test_logits_equal_an_independent_computation(training, image_size, channels):
    model = quiet(upernet(image_size, channels)).double().train(training)
    scramble(model)
    images = torch.randn(2, channels, *model.encoder.image_size, dtype=torch.float64)
    decode, auxiliary = expected_logits(model, images, training)
    height, width = model.encoder.grid
    assert decode.shape == (2, 5, 4 * height, 4 * width)
    torch.testing.assert_close(model.low_resolution_logits(images), decode, rtol=1e-10, atol=1e-10)
    full = reference.bilinear(decode, model.encoder.image_size)
    torch.testing.assert_close(model(images), full, rtol=1e-10, atol=1e-10)
    maps = model.encoder.feature_maps(images)
    torch.testing.assert_close(model.auxiliary(model.pyramid(maps)[2]), auxiliary, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_the_loss_equals_an_independent_computation_with_either_divisor(dtype):
    model = quiet(upernet()).double().train()
    scramble(model)
    images, labels = torch.randn(2, 3, 32, 32, dtype=torch.float64), labels_of((2, 32, 32))
    decode, auxiliary = (
        reference.cross_entropy_sum(logits, labels, 255) for logits in expected_logits(model, images, training=True)
    )
    for normalizer, count in (("valid", 2 * 24 * 32), ("all", 2 * 32 * 32)):
        model.criterion.normalizer = normalizer
        loss = model.loss(Batch(images, labels.to(dtype)))
        assert loss.count == count
        torch.testing.assert_close(loss.total, decode + 0.4 * auxiliary, rtol=1e-10, atol=0)
        torch.testing.assert_close(loss.extras["decode"], decode, rtol=1e-10, atol=0)
        torch.testing.assert_close(loss.extras["auxiliary"], auxiliary, rtol=1e-10, atol=0)
        assert not loss.extras["decode"].requires_grad


def test_the_divisors_are_torchs_mean_and_mmsegmentations():
    model = upernet(auxiliary=None).eval()
    images, labels = torch.randn(2, 3, 32, 32), labels_of((2, 32, 32))
    loss = model.loss(Batch(images, labels))
    mean = torch.nn.functional.cross_entropy(model(images), labels, ignore_index=255)
    torch.testing.assert_close(loss.total / loss.count, mean)
    model.criterion.normalizer = "all"
    loss = model.loss(Batch(images, labels))
    torch.testing.assert_close(loss.total / loss.count, mean * 0.75)  # a quarter of the pixels is ignored
    assert not loss.extras  # "decode" would be the loss itself


def test_a_batch_without_any_labelled_pixel_gives_zero_and_finite_gradients():
    model = upernet()
    loss = model.loss(Batch(torch.randn(2, 3, 32, 32), torch.full((2, 32, 32), 255, dtype=torch.uint8)))
    assert loss.total == 0
    assert loss.count == 0
    loss.total.backward()
    assert all(not parameter.grad.any() for parameter in model.parameters())


def test_every_parameter_has_a_gradient():
    model = upernet()
    model.loss(Batch(torch.randn(2, 3, 32, 32), labels_of((2, 32, 32)))).total.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_the_auxiliary_head_reads_the_third_feature_map_only():
    model = upernet().eval()
    seen = []
    model.auxiliary.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    images = torch.randn(1, 3, 32, 32)
    model.loss(Batch(images, labels_of((1, 32, 32))))
    assert torch.equal(seen[0], model.encoder.feature_maps(images)[2])
    seen.clear()
    model(images)
    assert not seen  # inference does not pay for it


def test_the_loss_is_float32_under_autocast():
    model = quiet(upernet())
    batch = Batch(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), labels_of((2, 32, 32)))
    exact = model.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.total, exact.total, rtol=0.02, atol=0)


@pytest.mark.parametrize("wide", [0, 10**6], ids=["turned around", "channels last"])
def test_a_step_is_the_same_with_convolutions_before_the_enlarging_or_after_it_in_either_layout(monkeypatch, wide):
    images = torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8)
    batch = Batch(images, labels_of((3, 64, 32)))
    results = []
    for first in (False, True):
        model = upernet(image_size=(64, 32)).double().train()
        scramble(model)
        model.head.low_resolution_first = first
        monkeypatch.setattr(segmenter, "WIDE", wide if first else 0)
        torch.manual_seed(0)
        loss = model.loss(batch)
        loss.total.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append((loss.total.detach(), gradients, dict(model.named_buffers())))
    (plain, gradients, statistics), (found, *others) = results
    torch.testing.assert_close(found, plain, rtol=1e-10, atol=0)
    for expected, got in zip((gradients, statistics), others, strict=True):
        for name, tensor in expected.items():
            torch.testing.assert_close(got[name], tensor, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("memory", [1, 3 * 5 * 16 * 16 * 8, 10**9])
def test_the_loss_of_some_images_at_a_time_is_that_of_all(monkeypatch, memory):
    monkeypatch.setattr(enlarged, "ENLARGED_BYTES", memory)
    logits = torch.randn(7, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = labels_of((7, 16, 16)).long()
    sized = F.interpolate(logits, size=(16, 16), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(sized, labels, ignore_index=255, reduction="sum")
    (gradient,) = torch.autograd.grad(3 * expected, logits)
    total = PixelCrossEntropy(ignore_index=255)
    found = total(logits, labels).total
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(3 * found, logits)[0], gradient, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        torch.testing.assert_close(total(logits, labels).total, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(total(logits.detach(), labels).total, expected.detach())


def test_dropout_drops_whole_channels_before_the_classifier_in_training_only():
    head = UPerHead(in_dim=8, channels=64, num_classes=3, pool_scales=SCALES, dropout=0.5)
    seen = []
    head.classify.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    levels = [torch.randn(2, 8, size, size) for size in (16, 8, 4, 2)]
    head.train()(levels)
    head.eval()(levels)
    dead = [(features.flatten(2) == 0).all(2).float().mean().item() for features in seen]
    assert 0.25 < dead[0] < 0.75
    assert dead[1] < dead[0] / 4


def test_batch_norms_become_synchronised_ones_without_new_names():
    model = upernet()
    before = {name: value.shape for name, value in model.state_dict().items()}
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    kinds = [type(part) for part in converted.modules() if "BatchNorm" in type(part).__name__]
    assert len(kinds) == 14
    assert set(kinds) == {torch.nn.SyncBatchNorm}
    assert {name: value.shape for name, value in converted.state_dict().items()} == before


def test_heads_and_pyramid_are_of_the_last_depth():
    model = upernet()
    depths = {name: model.depth_of(name) for name, _ in model.named_parameters()}
    assert {depth for name, depth in depths.items() if not name.startswith("encoder.")} == {5}
    assert depths["encoder.patch_embed.proj.weight"] == 0
    assert depths["encoder.blocks.2.attn.relative_position_bias_table"] == 3
    assert set(depths.values()) == {0, 1, 2, 3, 4, 5}


def test_a_single_image_cannot_be_trained_on_but_can_be_judged():
    model, batch = upernet(), Batch(torch.randn(1, 3, 32, 32), labels_of((1, 32, 32)))
    with pytest.raises(UserError, match="at least 2 images at a time"):
        model.loss(batch)
    assert model.eval().loss(batch).total > 0


def test_labels_are_asked_for():
    for labels in (None, torch.zeros(2, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"needs labels \(B, H, W\)"):
            upernet().loss(Batch(torch.zeros(2, 3, 32, 32), labels))


@pytest.mark.parametrize("auxiliary", [True, False])
def test_a_loss_that_gives_a_mean_is_refused(auxiliary):
    """As those of torch do; the engine divides by the pixels of all processes itself."""

    class Mean(torch.nn.CrossEntropyLoss):
        def forward(self, logits, labels):
            return super().forward(F.interpolate(logits, labels.shape[1:]), labels)

    model = upernet().train()
    model.criterion = Mean(ignore_index=255)
    model.auxiliary = model.auxiliary if auxiliary else None
    with pytest.raises(UserError, match=r"Mean gives a Tensor; it must give a mae_hydra\.types\.Loss, the sum"):
        model.loss(Batch(torch.zeros(2, 3, 32, 32), labels_of((2, 32, 32))))


def test_parts_that_do_not_fit_are_refused_by_name():
    cases = [
        ({"encoder": relative_encoder(out_indices=[0, 1, 2])}, r"4 out_indices that end with block 3, got \[0, 1, 2\]"),
        ({"encoder": relative_encoder(out_indices=[0, 1, 3])}, r"4 out_indices that .*, got \[0, 1, 3\]"),
        ({"encoder": relative_encoder(depth=5)}, "end with block 4"),
        ({"encoder": encoder()}, "final_norm=false"),
        ({"encoder": relative_encoder(image_size=[8, 32])}, "at least 2x2 patches, got 1x4"),
        ({"encoder": relative_encoder(image_size=[32, 8])}, "at least 2x2 patches, got 4x1"),
        ({"pyramid": None}, r"UPerHead needs maps of several sizes: use model=upernet_\*"),
        ({"pyramid": FeaturePyramid(dim=[24, 24, 12, 24])}, "the pyramid's dim must be 24 to fit the encoder, got "),
        ({"pyramid": FeaturePyramid(dim=16)}, "the pyramid's dim must be 24 to fit the encoder, got 16"),
        (
            {"head": UPerHead(in_dim=16, channels=8, num_classes=5, pool_scales=[1], dropout=0.0)},
            "the head's in_dim must be 24",
        ),
        (
            {"auxiliary": FCNHead(in_dim=16, channels=8, num_classes=5, dropout=0.0)},
            "the auxiliary head's in_dim must be 24",
        ),
        (
            {"auxiliary": FCNHead(in_dim=24, channels=8, num_classes=6, dropout=0.0)},
            "equal num_classes, got 5 and 6",
        ),
        ({"normalizer": "mean"}, "normalizer must be 'valid', 'all' or 'weights', got 'mean'"),
        ({"auxiliary_weight": -0.1}, "auxiliary_weight must not be negative, got -0.1"),
        ({"mean": [0.5]}, r"mean must have one value per channel \(3\)"),
        ({"trainable_blocks": 9}, "trainable_blocks must be a number of blocks from 0 to 4"),
        ({"head": LinearSegHead(in_dim=24, num_classes=5)}, "LinearSegHead takes one map, and the pyramid makes four"),
        (
            {"head": LinearSegHead(in_dim=24, num_classes=5), "pyramid": None, "auxiliary": None},
            "this model takes tokens after the norm: the encoder needs final_norm=true",
        ),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            upernet(**changes)
    with pytest.raises(ValueError, match=r"num_classes must be at least 1 .*, got 0"):
        UPerHead(in_dim=24, channels=8, num_classes=0, pool_scales=[1], dropout=0.0)
    told = {"in_dim": 24, "channels": 8, "num_classes": 2, "pool_scales": [1], "dropout": 0.0}
    for changes, message in (
        ({"pool_scales": []}, "pool_scales must be positive sizes"),
        ({"pool_scales": [1, 0]}, "pool_scales must be positive sizes"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\), got -0.1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"in_dim": [24] * 5}, r"in_dim must be one width or 4, got \[24, 24, 24, 24, 24\]"),
    ):
        with pytest.raises(ValueError, match=message):
            UPerHead(**(told | changes))
    for dropout in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\)"):
            FCNHead(in_dim=24, channels=8, num_classes=2, dropout=dropout)


class Stages(torch.nn.Module):
    """An encoder of four stages; `shape` may have other widths than it says."""

    num_depths, strides = 6, (4, 8, 16, 32)

    def __init__(self, *widths, given=None):
        super().__init__()
        self.widths, self.given = widths, given or widths

    def feature_maps(self, images):
        sizes = zip(self.given, self.strides, strict=True)
        return [images[:, :1, ::stride, ::stride].expand(-1, width, -1, -1) + 0.0 for width, stride in sizes]

    def depth_of(self, name):
        return 1


def test_an_encoder_of_stages_needs_no_pyramid_and_gives_each_head_what_it_takes():
    upper = {"channels": 6, "num_classes": 5, "pool_scales": [1, 2], "dropout": 0.0}
    fcn = {"channels": 6, "num_classes": 5, "dropout": 0.0}
    fits = {
        "encoder": Stages(3, 5, 7, 9),
        "pyramid": FeaturePyramid(dim=[3, 5, 7, 9]),
        "head": UPerHead(in_dim=[3, 5, 7, 9], **upper),
        "auxiliary": FCNHead(in_dim=7, **fcn),
    }
    images = torch.randn(2, 3, 64, 64)
    model = upernet(**fits).eval()
    assert model(images).shape == (2, 5, 64, 64)
    model.encoder.grid = (2, 2)
    assert model.fast() is model  # nothing is enlarged before the head
    assert upernet(**(fits | {"pyramid": None})).pyramid is None
    even = fits | {"encoder": Stages(3, 3, 3, 3), "pyramid": FeaturePyramid(dim=3), "head": UPerHead(in_dim=3, **upper)}
    of_any_size = upernet(**(even | {"auxiliary": None})).eval()
    assert of_any_size.fast() is of_any_size  # whose maps have no grid that is known beforehand
    one_map = {"pyramid": None, "auxiliary": None}
    last = upernet(**(fits | one_map | {"head": FCNHead(in_dim=9, **fcn)})).eval()
    torch.testing.assert_close(last.low_resolution_logits(images), last.head(fits["encoder"].feature_maps(images)[3]))
    dpt = DPTHead(in_dim=9, widths=[4] * 4, channels=4, num_classes=5, dropout=0.0)
    for changes, message in (
        (
            {"head": UPerHead(in_dim=[3, 5, 7, 8], **upper)},
            r"head's in_dim must be \[3, 5, 7, 9\] .*got \[3, 5, 7, 8\]",
        ),
        ({"pyramid": FeaturePyramid(dim=[3, 5, 7, 8])}, r"pyramid's dim must be \[3, 5, 7, 9\]"),
        ({"auxiliary": FCNHead(in_dim=9, **fcn)}, "auxiliary head's in_dim must be 7"),
        (one_map | {"head": FCNHead(in_dim=3, **fcn)}, "head's in_dim must be 9"),
        ({"encoder": Stages(3, 5, 7), "pyramid": None}, "UPerHead needs 4 maps, the encoder gives 3"),
        ({"head": dpt, "pyramid": None}, "DPTHead makes the sizes of its maps itself"),
        ({"head": torch.nn.Identity()}, "Identity is no head of segmentation"),
        ({"auxiliary": torch.nn.Identity()}, "Identity is no head of segmentation"),
    ):
        with pytest.raises(ValueError, match=message):
            check_fit(**{name: (fits | changes)[name] for name in fits}, auxiliary_level=2)
    wrong = upernet(**(fits | {"encoder": Stages(3, 5, 7, 9, given=(3, 5, 7, 8))}))
    with pytest.raises(
        UserError, match=r"Stages says that it gives maps of \[3, 5, 7, 9\] .* gives maps of \[3, 5, 7, 8\]"
    ):
        wrong(images)


def test_a_head_of_ones_own_need_not_say_its_width():
    class Own(torch.nn.Module):
        num_maps, num_classes = 4, 5

    check_fit(Stages(3, 5, 7, 9), None, Own(), None, 2)


def test_maps_of_one_width_are_enlarged_however_their_widths_are_told():
    assert FeaturePyramid(dim=[24] * 4).enlarges
    assert FeaturePyramid(dim=[24] * 4).state_dict().keys() == FeaturePyramid(dim=24).state_dict().keys()


def test_an_auxiliary_head_beside_a_head_of_one_map_reads_the_third_map():
    model = upernet(pyramid=None, head=FCNHead(in_dim=24, channels=8, num_classes=5, dropout=0.0)).eval()
    seen = []
    for head in (model.head, model.auxiliary):
        head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    images = torch.randn(1, 3, 32, 32)
    model.loss(Batch(images, labels_of((1, 32, 32))))
    maps = model.encoder.feature_maps(images)
    assert [torch.equal(one, wanted) for one, wanted in zip(seen, (maps[3], maps[2]), strict=True)] == [True, True]


def test_what_is_not_told_is_the_mean_over_labeled_pixels_and_four_tenths_of_the_auxiliary_loss():
    model = Segmenter(encoder=encoder(), head=LinearSegHead(in_dim=24, num_classes=5), mean=[0.5] * 3, std=[0.5] * 3)
    assert (model.auxiliary_weight, model.ignore_index, model.criterion.normalizer) == (0.4, 255, "valid")
    assert upernet(ignore_index=7).ignore_index == 7
    assert upernet(auxiliary_weight=0.0).auxiliary_weight == 0


@pytest.mark.parametrize("loss", [SimpleNamespace(ignore_index=255), lambda logits, labels: None])
def test_a_loss_must_be_callable_and_know_what_it_ignores(loss):
    with pytest.raises(ValueError, match="is no loss of class maps"):
        check_loss(loss)


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_enlarging_by_a_matrix_product_is_the_transposed_convolution(stride, layout, monkeypatch):
    """With its gradients, in the layout in which the maps come; torch's own where no gradient or no product is."""
    torch.manual_seed(0)
    layer = Enlarging(6, 5, stride).double()
    maps = torch.randn(2, 6, 3, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    found = layer(maps)
    with torch.no_grad():
        expected = layer(maps)
    assert found.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    inputs = (maps, *layer.parameters())
    along = torch.randn_like(found)
    own = torch.autograd.grad(F.conv_transpose2d(maps, layer.weight, layer.bias, stride), inputs, along)
    for gradient, other in zip(torch.autograd.grad(found, inputs, along), own, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-13)
    products = mock.Mock(wraps=F.linear)
    monkeypatch.setattr(F, "linear", products)
    for wanted in (True, False):
        monkeypatch.setattr(convolution, "AS_PRODUCT", wanted)
        layer(maps)
    assert products.call_count == 1
