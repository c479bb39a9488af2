"""Losses of pixels: other people's numbers, cuts of a batch, and what must not count."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_models import upernet

from mae_hydra.errors import UserError
from mae_hydra.models import (
    BinaryCrossEntropy,
    DiceLoss,
    FCNHead,
    FocalLoss,
    LovaszSoftmaxLoss,
    OhemCrossEntropy,
    PixelCrossEntropy,
    UPerHead,
    WeightedLosses,
)
from mae_hydra.models.segmentation.losses import enlarged
from mae_hydra.types import Batch

WEIGHTS = [0.5, 2.0, 1.0, 0.25, 4.0]


def both(weights=(1.0, 0.5), **settings):
    parts = {"cross_entropy": PixelCrossEntropy(ignore_index=255, **settings), "dice": DiceLoss(ignore_index=255)}
    return WeightedLosses(losses=parts, weights=dict(zip(parts, weights, strict=True)))


LOSSES = {
    "cross_entropy": lambda: PixelCrossEntropy(ignore_index=255),
    "weighted": lambda: PixelCrossEntropy(ignore_index=255, class_weights=WEIGHTS, label_smoothing=0.1),
    "by_weights": lambda: PixelCrossEntropy(ignore_index=255, class_weights=WEIGHTS, normalizer="weights"),
    "dice": lambda: DiceLoss(ignore_index=255),
    "focal": lambda: FocalLoss(ignore_index=255),
    "focal_below_1": lambda: FocalLoss(ignore_index=255, gamma=0.5, alpha=0.25),
    "focal_sigmoid": lambda: FocalLoss(ignore_index=255, alpha=0.25, form="sigmoid"),
    "lovasz": lambda: LovaszSoftmaxLoss(ignore_index=255),
    "ohem": lambda: OhemCrossEntropy(ignore_index=255),
    "hardest": lambda: OhemCrossEntropy(ignore_index=255, thresh=None, min_kept=0.25),
    "sum": both,
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def fixed():
    """One image of five classes, of which the last is absent, that needs no random numbers: 177 labelled pixels."""
    place = torch.arange(5 * 12 * 16, dtype=torch.float64).reshape(1, 5, 12, 16)
    labels = (torch.arange(12 * 16).reshape(1, 12, 16) * 7 // 5) % 4
    labels[:, :3, :5] = 255
    return 3 * torch.sin(place * 0.7 + torch.cos(place * 0.13)), labels


def random(images=8, size=4, classes=5, seed=0, dtype=torch.float64):
    """Small logits and labels four times as large; unequal shares of them are ignored, and of some images all."""
    source = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, size, size, generator=source, dtype=torch.float64)
    labels = torch.randint(0, classes, (images, 4 * size, 4 * size), generator=source)
    for index in range(images):
        labels[index, : (index * 5) % (4 * size + 1)] = 255
    labels[2] = 255
    labels[labels == 3] = 1  # absent everywhere
    return logits.to(dtype), labels


def mean(loss, logits, labels):
    found = loss(logits, labels)
    return (found.total / found.count).item()


# segmentation_models_pytorch 0.6.0 on `fixed()`. It divides sums over classes by all of them, ours by those that are
# there (5 / 4), and adds twice its `smooth`; the focal loss it divides by the classes.
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (DiceLoss(ignore_index=255, smooth=0.0), 0.7845649681941274),
        (DiceLoss(ignore_index=255, smooth=2.0), 0.765399357213674),
        (PixelCrossEntropy(ignore_index=255, label_smoothing=0.1), 568.8048842127283 / 177),
        (FocalLoss(ignore_index=255, form="sigmoid"), 5 * 149.52391143674103 / 177),
        (FocalLoss(ignore_index=255, form="sigmoid", alpha=0.25), 5 * 97.07655012010044 / 177),
    ],
)
def test_numbers_are_those_of_segmentation_models_pytorch(loss, expected):
    assert mean(loss, *fixed()) == pytest.approx(expected, rel=1e-12)


def test_binary_numbers_are_those_of_segmentation_models_pytorch():
    logits, labels = fixed()
    labels = labels.where(labels == 255, labels % 2)
    loss = BinaryCrossEntropy(ignore_index=255, num_classes=2, pos_weight=3.0)
    assert loss(logits[:, :2], labels).total.item() == pytest.approx(696.60780630442, rel=1e-12)


# mmsegmentation 1.4.2 on `fixed()`; its Lovász works in float32.
@pytest.mark.parametrize(
    ("loss", "expected", "precision"),
    [
        (LovaszSoftmaxLoss(ignore_index=255), 0.8380112648010254, 1e-6),
        (OhemCrossEntropy(ignore_index=255, thresh=0.2, min_kept=50 / 177), 4.426123706894794, 1e-12),
        (OhemCrossEntropy(ignore_index=255, thresh=0.7, min_kept=50 / 177), 3.531401144444994, 1e-12),
    ],
)
def test_numbers_are_those_of_mmsegmentation(loss, expected, precision):
    assert mean(loss, *fixed()) == pytest.approx(expected, rel=precision)


def test_class_weights_and_smoothing_are_torchs():
    logits, labels = random()
    sized = F.interpolate(logits, size=labels.shape[1:], mode="bilinear")
    expected = F.cross_entropy(sized, labels, torch.tensor(WEIGHTS, dtype=torch.float64), ignore_index=255)
    assert mean(LOSSES["by_weights"](), logits, labels) == pytest.approx(expected.item(), rel=1e-12)


def test_two_classes_by_one_number_are_two_by_two():
    logits, labels = random(classes=2)
    labels = labels.where(labels == 255, labels % 2)
    expected = PixelCrossEntropy(ignore_index=255)(logits, labels)
    found = BinaryCrossEntropy(ignore_index=255, num_classes=2)(logits, labels)
    torch.testing.assert_close(found.total, expected.total, rtol=1e-12, atol=0)
    assert found.count == expected.count


@pytest.mark.parametrize("name", [*LOSSES, "binary"])
def test_a_label_that_is_no_class_is_never_learned(name):
    """A sigmoid's cross-entropy would take the number itself for its target."""
    classes = 2 if name == "binary" else 5
    loss = BinaryCrossEntropy(ignore_index=255, num_classes=2) if name == "binary" else LOSSES[name]()
    logits, labels = random()
    labels = labels.where(labels == 255, labels % classes)
    loss(logits[:, :classes], labels)
    labels[0, 0, 0] = classes
    with pytest.raises((IndexError, RuntimeError)):
        loss(logits[:, :classes], labels)


def test_the_softmax_focal_loss_is_its_formula():
    logits, labels = fixed()
    expected = 0.0
    for row, column in (labels[0] != 255).nonzero().tolist():
        shares = [math.exp(value) for value in logits[0, :, row, column].tolist()]
        probability = shares[labels[0, row, column]] / sum(shares)
        expected -= 0.25 * (1 - probability) ** 1.5 * math.log(probability)
    loss = FocalLoss(ignore_index=255, gamma=1.5, alpha=0.25)(logits, labels)
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)


def test_the_sigmoid_focal_loss_is_its_formula_at_another_gamma():
    logits, labels = fixed()
    own = torch.zeros_like(logits).scatter(1, labels.where(labels != 255, 0)[:, None], 1.0)
    wrong = (own - logits.sigmoid()).abs()  # 1 - p of what is right
    expected = (wrong**0.5 * -(-wrong).log1p() * (labels != 255)[:, None]).sum()
    loss = FocalLoss(ignore_index=255, gamma=0.5, form="sigmoid")(logits, labels)
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-9)


def test_a_sum_is_divided_by_what_the_normalizer_says():
    logits, labels = fixed()
    told = {"valid": 177, "all": 192, "weights": float(torch.tensor(WEIGHTS)[labels[labels != 255]].sum())}
    for normalizer, count in told.items():
        loss = PixelCrossEntropy(ignore_index=255, normalizer=normalizer, class_weights=WEIGHTS)
        assert float(loss(logits, labels).count) == pytest.approx(count), normalizer


def test_the_hardest_pixels_are_those_of_a_sort():
    logits, labels = fixed()
    each = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")[labels != 255]
    hardest = each.sort(descending=True).values[: math.ceil(177 * 0.25)]
    assert mean(LOSSES["hardest"](), logits, labels) == pytest.approx(hardest.mean().item(), rel=1e-12)


def test_lovasz_of_certain_answers_is_one_minus_the_iou():
    labels = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, 255]]])
    answer = torch.tensor([[[0, 1, 1, 1], [0, 0, 1, 1]]])
    logits = 1e4 * F.one_hot(answer, 3).movedim(-1, 1).double()
    # class 0: 2 of 4, class 1: 3 of 5
    assert mean(LovaszSoftmaxLoss(ignore_index=255), logits, labels) == pytest.approx((0.5 + 0.4) / 2, rel=1e-9)


@every_loss
def test_a_batch_may_be_cut(name):
    logits, labels = random()
    logits.requires_grad_()
    loss = LOSSES[name]()
    whole = loss(logits, labels)
    (gradient,) = torch.autograd.grad(whole.total, logits)
    for size in (1, 4):
        parts = [loss(*part) for part in zip(logits.split(size), labels.split(size), strict=True)]
        total = sum(part.total for part in parts)
        torch.testing.assert_close(total, whole.total, rtol=1e-13, atol=0)
        torch.testing.assert_close(torch.autograd.grad(total, logits)[0], gradient, rtol=1e-12, atol=1e-15)
        assert sum(part.count for part in parts).item() == pytest.approx(whole.count.item(), rel=1e-12)


@every_loss
@pytest.mark.parametrize("images", [0, 3])
def test_a_few_images_at_a_time_give_the_same(name, images, monkeypatch):
    logits, labels = random()
    logits.requires_grad_()
    loss = LOSSES[name]()
    whole = loss(logits, labels)
    (gradient,) = torch.autograd.grad(3 * whole.total, logits)
    monkeypatch.setattr(enlarged, "ENLARGED_BYTES", images * 5 * 16 * 16 * 8)
    found = loss(logits, labels)
    torch.testing.assert_close(found.total, whole.total, rtol=1e-13, atol=0)
    torch.testing.assert_close(torch.autograd.grad(3 * found.total, logits)[0], gradient, rtol=1e-12, atol=1e-15)
    with torch.no_grad():
        torch.testing.assert_close(loss(logits, labels).total, whole.total.detach(), rtol=1e-13, atol=0)


@every_loss
@pytest.mark.parametrize(("size", "rows"), [((16, 16), 1), ((13, 22), 3), ((3, 5), 2)])  # the last are smaller
def test_a_few_rows_at_a_time_give_the_same(name, size, rows, monkeypatch):
    logits, labels = random(size=5)
    logits.requires_grad_()
    labels = labels[:, : size[0], : size[1]]
    loss = LOSSES[name]()
    whole = loss(logits, labels)
    (gradient,) = torch.autograd.grad(3 * whole.total, logits)
    strips = []
    apply = enlarged._InStrips.apply
    monkeypatch.setattr(enlarged._InStrips, "apply", lambda *given: (strips.append(given), apply(*given))[1])
    monkeypatch.setattr(enlarged, "STRIP_BYTES", rows * 5 * size[1] * 8)
    with torch.autocast("cpu", torch.bfloat16):  # under which an interpolation is none less exact
        found = loss(logits, labels)
    assert bool(strips) == (name not in ("dice", "lovasz", "ohem", "hardest") and size[0] > 2 * rows)
    torch.testing.assert_close(found.total, whole.total, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(3 * found.total, logits)[0], gradient, rtol=1e-10, atol=1e-13)
    with torch.no_grad():
        torch.testing.assert_close(loss(logits, labels).total, whole.total.detach(), rtol=1e-12, atol=0)


def test_strips_are_the_interpolation_in_single_precision(monkeypatch):
    logits, labels = random(images=3, dtype=torch.float32)
    results = []
    for memory in (0, 5 * 16 * 4):  # 0 switches them off
        monkeypatch.setattr(enlarged, "STRIP_BYTES", memory)
        given = logits.clone().requires_grad_()
        total = PixelCrossEntropy(ignore_index=255)(given, labels).total
        results.append((total, *torch.autograd.grad(total, given)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


@every_loss
def test_ignored_pixels_change_nothing(name):
    labels = torch.randint(0, 5, (3, 8, 8), generator=torch.Generator().manual_seed(1))
    labels[:, :, :3] = 255
    logits = torch.randn(3, 5, 8, 8, dtype=torch.float64)
    other = logits.clone()
    other[:, :, :, :3] = 50 * torch.randn(3, 5, 8, 3, dtype=torch.float64)  # logits have the labels' size
    loss = LOSSES[name]()
    torch.testing.assert_close(loss(other, labels).total, loss(logits, labels).total, rtol=1e-12, atol=0)
    expected = 3 * 8 * 5 if name != "by_weights" else sum(WEIGHTS[label] for label in labels[labels != 255])
    assert loss(logits, labels).count.item() == pytest.approx(expected)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_images_without_a_label_count_exactly_nothing(name, dtype):
    logits, labels = random(dtype=dtype)
    logits.requires_grad_()
    loss = LOSSES[name]()(logits, torch.full_like(labels, 255))
    loss.total.backward()
    assert loss.total == 0
    assert loss.count == 0
    assert not logits.grad.any()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_logits_of_half_precision_are_counted_in_single(name, dtype, scale):
    logits, labels = random()
    half = (scale * logits).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[name]()(half, labels)
    assert loss.total.dtype == torch.float32
    expected = LOSSES[name]()(half.detach().double(), labels)
    torch.testing.assert_close(loss.total.double(), expected.total, rtol=1e-5, atol=0)
    loss.total.backward()
    assert half.grad.isfinite().all()


@every_loss
def test_gradients_are_those_of_small_differences(name):
    logits, labels = random(images=4, size=2)
    loss = LOSSES[name]()
    assert torch.autograd.gradcheck(lambda values: loss(values, labels).total, logits.requires_grad_(), atol=1e-5)


@every_loss
def test_a_certain_and_right_answer_has_finite_gradients(name):
    _, labels = fixed()
    right = F.one_hot(labels.where(labels != 255, 0), 5).movedim(-1, 1).double()
    for sign in (1, -1):
        logits = (sign * 1e4 * right).requires_grad_()
        LOSSES[name]()(logits, labels).total.backward()
        assert logits.grad.isfinite().all()


def test_a_sum_is_the_sum_and_tells_its_parts():
    logits, labels = random()
    loss = both()(logits, labels)
    parts = {name: LOSSES[name]()(logits, labels).total for name in ("cross_entropy", "dice")}
    torch.testing.assert_close(loss.total, parts["cross_entropy"] + 0.5 * parts["dice"], rtol=1e-14, atol=0)
    assert {name: value.item() for name, value in loss.extras.items()} == {n: v.item() for n, v in parts.items()}


@pytest.mark.parametrize("training", [False, True])
def test_a_head_of_one_output_is_a_model_of_two_classes(training):
    torch.manual_seed(0)
    head = UPerHead(in_dim=24, channels=8, num_classes=1, pool_scales=[1, 2], dropout=0.0)
    auxiliary = FCNHead(in_dim=24, channels=8, num_classes=2, dropout=0.0)
    loss = BinaryCrossEntropy(ignore_index=255, num_classes=2)
    model = upernet(head=head, auxiliary=auxiliary, loss=loss).train(training)
    assert model.num_classes == 2
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 2, (2, 32, 32))
    labels[:, :4] = 255
    if not training:
        logits = model(images)
        assert logits.shape == (2, 2, 32, 32)
        assert not logits[:, 0].any()
        torch.testing.assert_close(model.fast()(images), logits, rtol=1e-4, atol=1e-5)
    loss = model.loss(Batch(images, labels))
    assert loss.count == 2 * 28 * 32
    assert loss.total.isfinite()
    if not training:
        each = F.binary_cross_entropy_with_logits(logits[:, 1], labels.clamp(max=1).float(), reduction="none")
        torch.testing.assert_close(loss.extras["decode"], each[labels != 255].sum())


def test_impossible_settings_are_refused():
    one = {"ignore_index": 255}
    cases = [
        (lambda: PixelCrossEntropy(**one, normalizer="mean"), "normalizer must be 'valid', 'all' or 'weights'"),
        (lambda: PixelCrossEntropy(**one, normalizer="weights"), "there are no class_weights"),
        (lambda: PixelCrossEntropy(**one, class_weights="median"), "class_weights must be a list of numbers, auto"),
        (lambda: PixelCrossEntropy(**one, class_weights=[1.0, -1.0]), "class_weights must be numbers from 0"),
        (lambda: PixelCrossEntropy(**one, class_weights=[1.0, math.inf]), "class_weights must be numbers from 0"),
        (lambda: PixelCrossEntropy(**one, class_weights=[0.0, 0.0]), "class_weights must be numbers from 0, not all"),
        (lambda: PixelCrossEntropy(**one, label_smoothing=1.0), "label_smoothing must lie in"),
        (lambda: PixelCrossEntropy(**one, label_smoothing=-0.1), "label_smoothing must lie in"),
        (lambda: BinaryCrossEntropy(**one, num_classes=3), "num_classes must be 2 for a binary loss, got 3"),
        (lambda: BinaryCrossEntropy(**one, num_classes=2, pos_weight=0.0), "pos_weight must be positive"),
        (lambda: DiceLoss(**one, smooth=-1.0), "smooth must not be negative"),
        (lambda: FocalLoss(**one, gamma=-1.0), "gamma must not be negative"),
        (lambda: FocalLoss(**one, alpha=0.0), "alpha must lie in"),
        (lambda: FocalLoss(**one, alpha=1.0), "alpha must lie in"),
        (lambda: FocalLoss(**one, form="softplus"), "form must be softmax or sigmoid"),
        (lambda: OhemCrossEntropy(**one, thresh=0.0), "thresh must lie in"),
        (lambda: OhemCrossEntropy(**one, min_kept=100000), "min_kept must be a share"),
        (lambda: OhemCrossEntropy(**one, min_kept=0.0), "min_kept must be a share"),
        (lambda: both(weights=(0.0, 0.0)), "weights must not be negative, and not all 0"),
        (lambda: both(weights=(1.0, -0.5)), "weights must not be negative, and not all 0"),
        (lambda: WeightedLosses(losses={"dice": DiceLoss(**one)}, weights={}), "one number for each of dice"),
        (lambda: WeightedLosses(losses={"dice": DiceLoss(**one)}, weights={"dice": 1, "x": 1}), "one number for each"),
        (lambda: both(normalizer="all"), "must have one normalizer"),
        (
            lambda: WeightedLosses(
                losses={"a": DiceLoss(**one), "b": DiceLoss(ignore_index=0)}, weights={"a": 1.0, "b": 1.0}
            ),
            "must have one ignore_index",
        ),
        (lambda: upernet(loss=PixelCrossEntropy(**one, class_weights=[1.0] * 4)), "class_weights must be 5 numbers"),
        (lambda: upernet(loss=PixelCrossEntropy(**one, class_weights=[1.0] * 6)), "class_weights must be 5 numbers"),
    ]
    for build, message in cases:
        with pytest.raises(ValueError, match=message):
            build()
    OhemCrossEntropy(**one, thresh=1.0, min_kept=1.0)  # all of them


def test_what_a_loss_is_told_nothing_of_is_as_in_its_paper():
    """Focal loss: gamma 2. OHEM: the pixels below 0.7, a tenth at least. Dice: smoothed by one pixel."""
    logits, labels = fixed()
    pairs = [
        (FocalLoss(ignore_index=255), FocalLoss(ignore_index=255, gamma=2.0, alpha=None, form="softmax")),
        (OhemCrossEntropy(ignore_index=255), OhemCrossEntropy(ignore_index=255, thresh=0.7, min_kept=0.1)),
        (
            OhemCrossEntropy(ignore_index=255, thresh=None),
            OhemCrossEntropy(ignore_index=255, thresh=None, min_kept=0.1),
        ),
        (DiceLoss(ignore_index=255), DiceLoss(ignore_index=255, smooth=1.0)),
    ]
    for untold, told in pairs:
        assert torch.equal(untold(logits, labels).total, told(logits, labels).total)


def test_parts_of_parts_and_those_of_the_heads_are_all_told():
    inner = both()
    loss = WeightedLosses(
        losses={"both": inner, "focal": FocalLoss(ignore_index=255)}, weights={"both": 1.0, "focal": 2.0}
    )
    model = upernet(loss=loss).eval()
    found = model.loss(Batch(torch.randn(2, 3, 32, 32), torch.randint(0, 5, (2, 32, 32))))
    assert set(found.extras) == {"both", "focal", "cross_entropy", "dice", "decode", "auxiliary"}
    two_classes = UPerHead(in_dim=24, channels=8, num_classes=1, pool_scales=[1], dropout=0.0)
    weighted = PixelCrossEntropy(ignore_index=255, class_weights=[1.0, 2.0])
    assert upernet(head=two_classes, auxiliary=None, loss=weighted).num_classes == 2


def test_class_weights_that_were_never_worked_out_are_no_ones():
    loss = PixelCrossEntropy(ignore_index=255, class_weights="auto")
    with pytest.raises(UserError, match="worked out when a training begins"):
        loss(*fixed())
    loss.set_class_weights(WEIGHTS)
    expected = PixelCrossEntropy(ignore_index=255, class_weights=WEIGHTS)(*fixed())
    assert torch.equal(loss(*fixed()).total, expected.total)
    assert not loss.state_dict()
