"""Class maps as colours."""

import numpy as np

from mae_hydra.figures import LegendEntry, colour_classes, find_boundaries, legend_of, overlay

PALETTE = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
NAMES = ("red", "green", "blue")
LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 255], [2, 2, 2, 255]], np.uint8)
IMAGE = np.random.default_rng(0).integers(0, 255, (3, 4, 3)).astype(np.uint8)


def test_each_class_has_its_palette_colour_and_what_is_no_class_is_grey() -> None:
    colours = colour_classes(LABELS, PALETTE)
    for index in range(3):
        assert (colours[index == LABELS] == PALETTE[index]).all()
    ignored = colours[LABELS == 255].astype(int)
    assert np.ptp(ignored, axis=1).max() <= 12
    assert np.array_equal(colour_classes(np.where(LABELS == 255, np.uint8(3), LABELS), PALETTE), colours)  # the first


def test_full_opacity_shows_the_classes_and_none_shows_the_grey_image() -> None:
    assert np.array_equal(
        overlay(IMAGE, LABELS, PALETTE, opacity=1.0, boundaries=False), colour_classes(LABELS, PALETTE)
    )
    grey = overlay(IMAGE, LABELS, PALETTE, opacity=0.0, boundaries=False)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - (0.299 * IMAGE[..., 0] + 0.587 * IMAGE[..., 1] + 0.114 * IMAGE[..., 2])).max() <= 0.51


def test_boundaries_lie_between_two_classes_and_not_along_ignored_pixels() -> None:
    for ignored in (3, 255):  # the first number that is no class, and the usual one
        labels = np.where(LABELS == 255, np.uint8(ignored), LABELS)
        assert find_boundaries(labels, 3).astype(int).tolist() == [[0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_boundaries_are_drawn_darker_and_nothing_else_changes() -> None:
    plain = overlay(IMAGE, LABELS, PALETTE, opacity=0.5, boundaries=False).astype(int)
    drawn = overlay(IMAGE, LABELS, PALETTE, opacity=0.5, boundaries=True).astype(int)
    edges = find_boundaries(LABELS, 3)
    assert (drawn[edges].sum(1) < plain[edges].sum(1)).all()
    assert np.array_equal(drawn[~edges], plain[~edges])


def test_the_legend_names_what_occurs_in_class_order() -> None:
    assert legend_of([LABELS[:2, :3]], NAMES, PALETTE) == [
        LegendEntry("red", [250, 0, 0]),
        LegendEntry("green", [0, 250, 0]),
    ]
    assert [entry.name for entry in legend_of([LABELS[:1], LABELS[2:]], NAMES, PALETTE)] == [*NAMES, "ignored"]


def test_a_long_legend_keeps_the_largest_classes_and_counts_the_rest() -> None:
    names = [entry.name for entry in legend_of([LABELS], NAMES, PALETTE, most=2)]
    assert names == ["red", "green", "and 1 more", "ignored"]
    larger = np.concatenate([LABELS, np.full((1, 4), 2, np.uint8)])
    assert [entry.name for entry in legend_of([larger], NAMES, PALETTE, most=1)] == ["blue", "and 2 more", "ignored"]
    many = np.arange(25, dtype=np.uint8)[None].repeat(2, 0)
    names = [f"c{n}" for n in range(25)]
    for count, last in ((24, "c23"), (25, "and 1 more")):
        entries = legend_of([many[:, :count]], names, np.zeros((25, 3), np.uint8))
        assert (len(entries), entries[-1].name) == (count, last)
