from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pictures import pixels, smooth_picture
from PIL import Image
from torchvision.transforms import v2

from mae_hydra.data import EvalCrop, PretrainAugment, Sample, SegmentAugment
from mae_hydra.data.augment import crops
from mae_hydra.data.augment.crop_notes import crop_notes, reduction_notes
from mae_hydra.seeds import generator

RATIO = (3 / 4, 4 / 3)
BOXES_BEFORE = [(33, 93, 334, 298), (67, 51, 297, 369), (6, 48, 365, 309)]


def pretrain(**changes: Any) -> PretrainAugment:
    return PretrainAugment(**{"size": [24, 32], "scale": [0.2, 1.0], "ratio": RATIO, "flip": 0.5} | changes)


def segment(**changes: Any) -> SegmentAugment:
    values = {"size": 32, "ratio_range": [0.5, 2.0], "cat_max_ratio": 0.75, "flip": 0.5, "photometric": False,
              "ignore_index": 255, "fill": [0.5, 0.25, 1.0]}  # fmt: skip
    return SegmentAugment(**values | changes)


def blocks(height: int, width: int, seed: int = 0) -> Sample:
    """Blocks of 16 pixels, each of one class, whose grey value in the image is 20 times the class."""
    classes = np.random.default_rng(seed).integers(0, 12, (-(-height // 16), -(-width // 16)), dtype=np.uint8)
    labels = torch.from_numpy(np.kron(classes, np.ones((16, 16), np.uint8))[:height, :width].copy())
    return Sample((labels * 20).expand(3, -1, -1).contiguous(), labels, "blocks")


def test_random_crops_are_distributed_as_torchvisions() -> None:
    height, width, scale = 300, 400, (0.2, 1.0)
    rng = generator("boxes")
    ours = np.array([crops.random_resized_box(height, width, scale, RATIO, rng) for _ in range(4000)])
    torch.manual_seed(0)
    canvas = torch.empty(1, height, width)
    reference = v2.RandomResizedCrop(8, scale, RATIO, antialias=True)
    drawn = [reference.make_params([canvas]) for _ in range(4000)]
    theirs = np.array([[box["top"], box["left"], box["height"], box["width"]] for box in drawn])
    for measure in (
        lambda box: box[:, 2] * box[:, 3] / (height * width),
        lambda box: np.log(box[:, 3] / box[:, 2]),
        lambda box: box[:, 0] / (height - box[:, 2] + 1),
        lambda box: box[:, 1] / (width - box[:, 3] + 1),
    ):
        levels = np.linspace(0.02, 0.98, 25)
        distance = np.abs(np.quantile(measure(ours), levels) - np.quantile(measure(theirs), levels))
        assert distance.max() < 0.035


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_bicubic_resizing_is_torchvisions(channels: int) -> None:
    pixels = torch.randint(0, 256, (40, 50, channels), dtype=torch.uint8)
    for image in (pixels.permute(2, 0, 1), pixels.permute(2, 0, 1).contiguous(), pixels[3:30, 5:44].permute(2, 0, 1)):
        for size in ((16, 20), (64, 33), (40, 50), (27, 39)):
            expected = v2.functional.resize(image, list(size), interpolation=v2.InterpolationMode.BICUBIC)
            assert torch.equal(crops.resize_bicubic(image, size), expected)


def test_an_image_that_no_draw_fits_but_whose_shape_is_allowed_is_taken_whole_as_in_torchvision() -> None:
    scale = (1.01, 1.02)  # an area that never fits
    params = v2.RandomResizedCrop(8, scale, RATIO).make_params([torch.empty(1, 80, 100)])
    box = crops.random_resized_box(80, 100, scale, RATIO, generator("fallback"))
    assert box == (params["top"], params["left"], params["height"], params["width"]) == (0, 0, 80, 100)


@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (1, 1), (1, 300)])
def test_an_image_too_long_for_the_ratio_gives_its_largest_part_of_the_drawn_shape_anywhere(
    height: int, width: int
) -> None:
    rng = generator("fallback")
    boxes = np.array([crops.random_resized_box(height, width, (0.999, 1.0), RATIO, rng) for _ in range(800)])
    top, left, tall, wide = boxes.T
    assert ((tall == height) | (wide == width)).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()
    if max(height, width) < 300:
        return
    along, side, room = (left, wide, width) if width > height else (top, tall, height)
    places = along / np.maximum(room - side, 1)
    assert np.abs(np.quantile(places, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.05


@pytest.mark.parametrize("size", [(32, 128), (128, 32), (64, 64), (224, 224)])
@pytest.mark.parametrize(("height", "width"), [(128, 512), (512, 128), (100, 120), (64, 1024)])
@pytest.mark.parametrize("low", [0.08, 0.4])
def test_no_crop_is_stretched_by_more_than_the_ratio_and_none_on_average(
    size: tuple[int, int], height: int, width: int, low: float
) -> None:
    aspect = size[1] / size[0]
    rng = generator("stretch")
    boxes = [crops.random_resized_box(height, width, (low, 1.0), RATIO, rng, aspect=aspect) for _ in range(500)]
    stretches = np.array([box[3] / box[2] / aspect for box in boxes])
    whole = RATIO[0] <= width / height / aspect <= RATIO[1]
    assert stretches.min() > RATIO[0] * 0.93  # whole pixels
    assert stretches.max() < RATIO[1] * 1.07
    assert len(set(boxes)) > 200
    if whole:
        assert abs(np.log(stretches).mean()) < 0.05
    seen = np.zeros((height, width), bool)
    for top, left, tall, wide in boxes:
        seen[top : top + tall, left : left + wide] = True
    assert seen.mean() > 0.97


def test_a_square_target_draws_the_very_boxes_that_it_drew_before() -> None:
    """The boxes of 2026-11-25, of pictures of ordinary shapes: MAE's recipe is what it was."""
    boxes = [
        crops.random_resized_box(375, 500, (0.2, 1.0), RATIO, generator("before", n), aspect=1.0) for n in range(3)
    ]
    assert boxes == BOXES_BEFORE


def test_pictures_of_a_shape_that_crops_cannot_have_and_very_large_ones_are_said() -> None:
    augment = pretrain(size=64, scale=[0.4, 1.0])
    [note] = augment.notes_on([(128, 512), (100, 100)])
    assert "no crop of 0.4 of the area in the shape of 64x64 fits into 1 of 2 pictures looked at (512x128)" in note
    [note] = pretrain(size=64, scale=[0.4, 1.0], clamp=True).notes_on([(128, 512), (100, 100)])
    assert (
        "fits into 1 of 2 pictures looked at (512x128); such crops are cut to the picture and stretched up to" in note
    )
    assert not pretrain(size=64, clamp=True).notes_on([(375, 500), (500, 333)])
    assert not pretrain(size=[32, 128], scale=[0.4, 1.0]).notes_on([(128, 512)])
    assert not pretrain(size=64).notes_on([(375, 500), (500, 333)])
    [note] = pretrain(size=224).notes_on([(6000, 6000)])
    assert "even the smallest crops are reduced 12 times for 1 of 1 pictures looked at (6000x6000)" in note
    [note] = segment(size=512).notes_on([(6000, 6000), (512, 683)])
    assert "1 of 2 pictures looked at (6000x6000) are reduced to a shorter side of 512 pixels, up to 12 times" in note
    assert not segment(size=512, short=2048).notes_on([(6000, 6000)])
    assert not segment(size=512, short=None).notes_on([(6000, 6000)])


def test_of_several_pictures_the_largest_is_named_and_the_worst_is_told() -> None:
    sizes, scale = [(100, 900), (64, 2048), (100, 100)], (0.4, 1.0)
    said = "note: no crop of 0.4 of the area in the shape of 128x64 fits into 2 of 3 pictures looked at (2048x64); "
    assert crop_notes(sizes, (64, 128), scale, RATIO, clamp=False) == [
        f"{said}the largest is taken, at a random place; lower augment.scale, or set data.image_size to their shape"
    ]
    worst = crops.most_stretched(64, 2048, scale, RATIO, aspect=2.0)
    assert worst > crops.most_stretched(100, 900, scale, RATIO, aspect=2.0)
    assert crop_notes(sizes, (64, 128), scale, RATIO, clamp=True) == [
        f"{said}such crops are cut to the picture and stretched up to {worst:.1f} times; augment.clamp=false keeps "
        "their shape, or set data.image_size to that of the pictures"
    ]
    # A quarter of 512x512 pixels is reduced four times for 64x64, which is not much yet.
    [note] = crop_notes([(512, 512), (520, 520), (1280, 1280)], (64, 64), (0.25, 1.0), RATIO, clamp=False)
    assert note.startswith(
        "note: even the smallest crops are reduced 10 times for 2 of 3 pictures looked at (1280x1280)"
    )
    assert reduction_notes([(400, 9999), (9999, 400)], 100) == []
    [note] = reduction_notes([(401, 2000), (800, 900), (400, 500)], 100)
    assert note.startswith(
        "note: 2 of 3 pictures looked at (2000x401) are reduced to a shorter side of 100 pixels, up to 8"
    )
    notes = segment(size=[32, 96]).notes_on([(129, 400), (400, 128)])
    assert [note[:14] for note in notes] == ["note: 1 of 2 p"]


def test_ten_draws_that_do_not_fit_are_made() -> None:
    rng, reference = generator("ten"), generator("ten")
    assert crops.random_resized_box(80, 100, (1.01, 1.02), RATIO, rng) == (0, 0, 80, 100)
    for _ in range(20):
        reference.uniform(0, 1)
    assert rng.random() == reference.random()


def test_a_picture_that_the_smallest_share_fits_is_not_too_long() -> None:
    """Of a 100 x 400 picture, a third fits at the shape 4 / 3: 100 x 133 pixels."""
    assert [crops.never_fits(100, 400, (low, 1.0), RATIO) for low in (0.33, 0.34)] == [False, True]
    assert [crops.never_fits(400, 100, (low, 1.0), RATIO) for low in (0.33, 0.34)] == [False, True]
    assert [crops.never_fits(100, 400, (low, 1.0), RATIO, aspect=4) for low in (0.99, 1.0)] == [False, False]


def test_numbers_of_16_bits_are_rounded_and_stay_within_them() -> None:
    values = torch.tensor([-5.0, 0.4, 65534.5, 65534.6, 70000.0])
    assert crops.rounded(values).to(torch.int32).tolist() == [0, 0, 65534, 65535, 65535]
    edge = torch.tensor([[[0, 65535, 0], [0, 65535, 0]]], dtype=torch.int32).to(torch.uint16)
    assert crops.resize_bilinear(edge, (1, 3)).to(torch.int32).tolist() == [[[0, 65535, 0]]]
    assert crops.resize_bilinear(edge, (2, 6)).shape == (1, 2, 6)


def test_what_is_ignored_is_no_class_of_a_crop_and_its_number_is_the_sets_own() -> None:
    mixed = segment(ignore_index=300)._is_mixed

    def labels(*counts: tuple[int, int]) -> torch.Tensor:
        return torch.cat([torch.full((count,), number) for number, count in counts])[None].to(torch.uint16)

    found = [mixed(labels(*each)) for each in (
        [(0, 3), (1, 1)], [(0, 74), (255, 26)], [(0, 75), (255, 25)], [(0, 1), (300, 99)], [(0, 2), (1, 1), (300, 9)],
    )]  # fmt: skip
    assert found == [False, True, False, False, True]
    sample = Sample(torch.full((5, 8, 8), 1000, dtype=torch.uint16), torch.ones(8, 8, dtype=torch.uint16), "bands")
    fill = [0.0, 0.25, 0.5, 0.75, 1.0]
    image, padded = segment(
        ignore_index=300, fill=fill, size=[4, 12], ratio_range=[1.0, 1.0], photometric=True, photometric_on="device",
        cat_max_ratio=1.0,
    )(sample, generator(1))  # fmt: skip
    assert isinstance(image, torch.Tensor)  # of bands nothing is left to the device
    assert image.to(torch.int32)[:, 0, -1].tolist() == [0, 16384, 32768, 49151, 65535]
    assert padded.to(torch.int32)[0].tolist() == [1] * 4 + [300] * 8
    assert segment(size=[4, 12], short="size").short == (4, 12)


def test_labels_are_cut_where_their_image_is() -> None:
    rows = torch.arange(64, dtype=torch.uint8)[:, None].expand(64, 48)
    sample = EvalCrop(size=[16, 32], crop_ratio=0.5)(Sample(rows.expand(3, -1, -1), rows, "rows"))
    assert sample.image.shape == (3, 16, 32)
    assert sample.label[:, 0].tolist() == [(34 + row) * 64 // 85 for row in range(16)]  # 64 x 48 becomes 85 x 64


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_no_clamped_box_is_stretched_more_than_is_said(size: tuple[int, int]) -> None:
    scale, aspect = (0.3, 1.0), size[1] / size[0]
    for height, width in ((600, 100), (100, 600), (100, 2000)):
        boxes = [
            crops.random_resized_box(height, width, scale, RATIO, generator("c", n), clamp=True, aspect=aspect)
            for n in range(1000)
        ]
        shapes = np.array([wide / tall / aspect for _, _, tall, wide in boxes])
        most = crops.most_stretched(height, width, scale, RATIO, aspect=aspect)
        assert 0.9 * most < max(shapes.max(), (1 / shapes).max()) < 1.02 * most


@pytest.mark.parametrize(("short", "side"), [("size", 32), (32, 32), (96, 96), (None, 200), ([48, 64], 48)])
def test_the_shorter_side_before_the_crop_can_be_told(short: Any, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resized: list[tuple[int, int]] = []
    nearest = crops.resize_nearest
    monkeypatch.setattr(crops, "resize_nearest", lambda labels, size: resized.append(size) or nearest(labels, size))
    image, labels = segment(short=short, ratio_range=[1.0, 1.0])(blocks(200, 240), generator("short"))
    assert image.shape[1:] == labels.shape == (32, 32)
    assert resized == [(side, round(side * 240 / 200))]


def test_pretraining_crops_are_pillows_bicubic_of_the_drawn_box() -> None:
    picture = smooth_picture(90, 120)
    sample = Sample(pixels(picture), 7, "photo")
    for number in range(6):
        image, label = pretrain(flip=0.0)(sample, generator(number))
        drawn = crops.random_resized_box(90, 120, (0.2, 1.0), RATIO, generator(number), aspect=32 / 24)
        top, left, height, width = drawn
        box = picture.crop((left, top, left + width, top + height))
        reference = pixels(box.resize((32, 24), Image.Resampling.BICUBIC))
        assert (image.int() - reference.int()).abs().max() <= 1
        assert (image.dtype, label) == (torch.uint8, 7)


def test_the_flip_mirrors_left_and_right_with_its_probability() -> None:
    sample = Sample(pixels(smooth_picture(40, 40)), None, "photo")
    plain = [pretrain(flip=0.0)(sample, generator(number))[0] for number in range(200)]
    mirrored = [pretrain(flip=1.0)(sample, generator(number))[0] for number in range(200)]
    mixed = [pretrain(flip=0.3)(sample, generator(number))[0] for number in range(200)]
    assert all(torch.equal(a, b.flip(-1)) for a, b in zip(plain, mirrored, strict=True))
    flips = sum(not torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))
    assert 40 <= flips <= 80


def test_a_class_map_is_flipped_with_its_image_as_often_as_is_told() -> None:
    sample = blocks(32, 48)
    assert isinstance(sample.label, torch.Tensor)
    flips = {}
    for flip in (0.0, 0.25, 1.0):
        augment = segment(size=[32, 48], short=None, ratio_range=[1.0, 1.0], cat_max_ratio=1.0, flip=flip)
        made = [augment(sample, generator(number)) for number in range(80)]
        turned = [torch.equal(labels, sample.label.flip(-1)) for _, labels in made]  # type: ignore[arg-type]
        for (image, labels), flipped in zip(made, turned, strict=True):
            assert torch.equal(labels, sample.label.flip(-1) if flipped else sample.label)  # type: ignore[arg-type]
            assert torch.equal(image, sample.image.flip(-1) if flipped else sample.image)  # type: ignore[arg-type]
        flips[flip] = sum(turned)
    assert (flips[0.0], flips[1.0]) == (0, 80)
    assert 10 <= flips[0.25] <= 30


def test_augmentation_depends_on_nothing_but_the_generator() -> None:
    photo = Sample(pixels(smooth_picture(50, 60)), None, "photo")
    for augment, sample in ((pretrain(), photo), (segment(), blocks(64, 90))):
        torch.manual_seed(1)
        first, again = augment(sample, generator(5)), augment(sample, generator(5))
        other = augment(sample, generator(6))
        assert torch.equal(first[0], again[0])
        assert not torch.equal(first[0], other[0])


def test_pretraining_drops_class_maps() -> None:
    assert pretrain()(blocks(40, 40), generator(0))[1] is None


@pytest.mark.parametrize("shape", [(50, 90), (200, 64), (20, 20), (120, 201)])
@pytest.mark.parametrize("axis", [0, 1])
def test_segmentation_keeps_labels_on_their_pixels(shape: tuple[int, int], axis: int) -> None:
    """Image and labels both hold the row (or column) they come from, so they must agree to a source pixel or two."""
    ramp = torch.arange(shape[axis], dtype=torch.uint8).reshape((-1, 1) if axis == 0 else (1, -1)).expand(shape)
    sample = Sample(ramp.expand(3, -1, -1), ramp, "ramp")
    for number in range(20):
        image, labels = segment()(sample, generator(number))
        assert image.shape == (3, 32, 32)
        assert isinstance(labels, torch.Tensor)
        assert labels.shape == (32, 32)
        inside = labels != 255
        step = shape[axis] / (16 * max(shape) / min(shape) if shape[axis] == max(shape) else 16)  # at factor 0.5
        assert (image[0].int() - labels.int()).abs()[inside].max() <= max(step, 1) + 1
        assert inside.any()


def test_small_images_are_padded_at_the_bottom_and_right_with_the_mean_and_ignored() -> None:
    image, labels = segment(ratio_range=[0.5, 0.5], cat_max_ratio=1.0, flip=0.0)(blocks(32, 32), generator(0))
    assert isinstance(labels, torch.Tensor)
    assert (labels[:16, :16] != 255).all()
    assert (labels[16:] == 255).all()
    assert (labels[:, 16:] == 255).all()
    assert image[:, 20, 3].tolist() == image[:, 3, 20].tolist() == [128, 64, 255]


@pytest.mark.parametrize(
    ("factor", "shape", "expected"),
    [
        (1.0, (100, 150), (32, 48)),
        (0.5, (100, 150), (16, 24)),
        (2.0, (100, 1000), (26, 256)),
        (1.7, (333, 100), (180, 54)),
    ],
)
def test_images_are_fitted_into_the_crop_size_times_the_factor(
    factor: float, shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    """(2048, 512) * r for a crop of 512; the side that is reached first decides, int(side * f + 0.5)."""
    assert crops.fitted_size(*shape, int(4 * 32 * factor), int(32 * factor)) == expected


def test_resizing_follows_opencvs_rules() -> None:
    """Linear: half-pixel centres, two neighbours an axis, no antialiasing. Nearest: floor(x * old / new)."""
    values = np.random.default_rng(0).integers(0, 256, (3, 17, 23), dtype=np.uint8)

    def axis(old: int, new: int) -> np.ndarray:
        position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.minimum(np.floor(position).astype(int), old - 2)
        weights = np.zeros((new, old))
        weights[np.arange(new), low] = 1 - (position - low)
        weights[np.arange(new), low + 1] += position - low
        return weights

    for height, width in ((8, 40), (34, 11), (17, 24)):
        expected = axis(17, height) @ values @ axis(23, width).T
        resized = crops.resize_bilinear(torch.from_numpy(values), (height, width)).numpy()
        assert np.abs(resized - expected).max() <= 1.01
        rows, columns = np.arange(height) * 17 // height, np.arange(width) * 23 // width
        nearest = crops.resize_nearest(torch.from_numpy(values[0]), (height, width)).numpy()
        assert np.array_equal(nearest, values[0][rows][:, columns])


def test_a_crop_full_of_one_class_is_drawn_again_up_to_ten_times() -> None:
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[:, 48:] = 1
    labels[:8] = 255
    augment = segment()
    redrawn = 0
    for number in range(60):
        rng, reference = generator(number), generator(number)
        boxes = [crops.random_box(64, 64, (32, 32), reference) for _ in range(11)]
        chosen = boxes[-1]
        for draw, box in enumerate(boxes[:10]):
            values, counts = np.unique(crops.cut(labels, box).numpy(), return_counts=True)
            counts = counts[values != 255]
            if len(counts) > 1 and counts.max() / counts.sum() < 0.75:
                chosen = box
                redrawn += draw > 0
                break
        assert augment._draw_box(labels, rng) == chosen
    assert redrawn > 20


def test_the_tenth_redraw_is_kept_as_it_is() -> None:
    rng, reference = generator(0), generator(0)
    box = segment()._draw_box(torch.zeros(64, 64, dtype=torch.uint8), rng)
    assert box == [crops.random_box(64, 64, (32, 32), reference) for _ in range(11)][-1]
    assert rng.random() == reference.random()


def test_crop_offsets_reach_both_ends() -> None:
    rng = generator("offsets")
    boxes = [crops.random_box(5, 9, (3, 20), rng) for _ in range(100)]
    assert {box[0] for box in boxes} == {0, 1, 2}
    assert {box[1:] for box in boxes} == {(0, 3, 9)}


def test_photometric_distortion_changes_colours_only_and_not_the_padding() -> None:
    sample = Sample(pixels(smooth_picture(40, 64)), torch.ones(40, 64, dtype=torch.uint8), "photo")
    changed = 0
    for number in range(10):
        plain, distorted = (
            segment(photometric=on, ratio_range=[0.5, 0.5])(sample, generator(number)) for on in (False, True)
        )
        assert torch.equal(plain[1], distorted[1])
        padding = plain[1] == 255
        assert padding.any()
        assert torch.equal(plain[0][:, padding], distorted[0][:, padding])
        changed += not torch.equal(plain[0], distorted[0])
    assert changed >= 7


@pytest.mark.parametrize("shape", [(3, 70, 100), (3, 100, 70), (3, 24, 24), (1, 31, 200), (3, 10, 11)])
@pytest.mark.parametrize(("size", "crop_ratio"), [(24, 0.875), (24, 1.0), (21, 0.9)])
def test_the_evaluation_crop_is_torchvisions_resize_and_centre_crop(
    shape: tuple[int, int, int], size: int, crop_ratio: float
) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    resize = v2.Resize(int(size / crop_ratio), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    reference = v2.CenterCrop(size)(resize(image))
    assert torch.equal(EvalCrop(size=size, crop_ratio=crop_ratio)(Sample(image, 3, "photo")).image, reference)


@pytest.mark.parametrize(("size", "resized"), [(64, 73), (224, 256), (225, 225), (448, 448)])
def test_up_to_224_pixels_the_evaluation_crop_leaves_an_eighth_out(size, resized):
    """MAE's rule, with its boundary: int(size / 0.875) and the centre, above 224 the whole shorter side."""
    image = torch.randint(0, 256, (3, resized, resized), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    border = round((resized - size) / 2)
    found = EvalCrop(size=size, crop_ratio=None)(Sample(image, 3, "photo")).image
    assert torch.equal(found, image[:, border : border + size, border : border + size])


def test_the_shorter_side_of_a_rectangle_decides_over_the_margin() -> None:
    covers = [EvalCrop(size=size, crop_ratio=None).cover for size in ([224, 448], [448, 224], [225, 448], [100, 50])]
    assert covers == [(256, 512), (512, 256), (225, 448), (114, 57)]


@pytest.mark.parametrize("size", [[16, 48], [48, 16]])
def test_a_rectangular_evaluation_crop_covers_the_image_and_takes_the_labels_along(size: Sequence[int]) -> None:
    sample = EvalCrop(size=size, crop_ratio=1.0)(blocks(64, 64))
    assert isinstance(sample.label, torch.Tensor)
    assert tuple(sample.image.shape[1:]) == tuple(sample.label.shape) == tuple(size)
    assert ((sample.image[0].int() - sample.label.int() * 20).abs() <= 3).float().mean() > 0.6


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (pretrain, {"scale": [0.5, 1.5]}, r"augment.scale must be \[low, high\] with 0 < low <= high <= 1, got \[0.5"),
        (pretrain, {"ratio": [2.0, 1.0]}, r"augment.ratio must be \[low, high\]"),
        (pretrain, {"flip": 1.5}, r"augment.flip must be a probability in \[0, 1\], got 1.5"),
        (segment, {"ratio_range": [0.0, 2.0]}, r"augment.ratio_range must be \[low, high\]"),
        (segment, {"cat_max_ratio": 0.0}, r"augment.cat_max_ratio must lie in \(0, 1\], got 0.0"),
        (pretrain, {"scale": [0.5]}, r"augment.scale must be \[low, high\]"),
        (pretrain, {"flip": -0.1}, r"augment.flip must be a probability in \[0, 1\], got -0.1"),
        (pretrain, {"crops_per_image": 0}, "augment.crops_per_image must be at least 1, got 0"),
        (pretrain, {"smaller": [4], "smaller_until": [1, 2]}, "an epoch for each size of augment.smaller, got 2 for 1"),
        (pretrain, {"smaller": [4, 5], "smaller_until": [1]}, "an epoch for each size of augment.smaller, got 1 for 2"),
        (
            pretrain,
            {"smaller": [4], "smaller_until": [0]},
            r"augment.smaller_until must ascend from above 0, got \[0\]",
        ),
        (pretrain, {"smaller": [4, 5], "smaller_until": [2, 2]}, "augment.smaller_until must ascend from above 0"),
        (segment, {"cat_max_ratio": 1.01}, r"augment.cat_max_ratio must lie in \(0, 1\], got 1.01"),
        (segment, {"fill": [0.5, 1.1, 0.5]}, r"augment.fill must hold values in \[0, 1\]"),
        (EvalCrop, {"size": 24, "crop_ratio": 0.0}, r"crop_ratio must lie in \(0, 1\], got 0.0"),
        (segment, {"fill": [124, 116, 104]}, r"augment.fill must hold values in \[0, 1\], got \[124, 116, 104\]"),
        (EvalCrop, {"size": 24, "crop_ratio": 1.2}, r"crop_ratio must lie in \(0, 1\], got 1.2"),
    ],
)
def test_a_bad_value_is_named_with_what_is_accepted(build: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_segmentation_without_a_class_map_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a class map for each image, photo_7 has 3"):
        segment()(Sample(pixels(smooth_picture(8, 8)), 3, "photo_7"), generator(0))
