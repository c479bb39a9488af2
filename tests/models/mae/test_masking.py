import pytest
import torch

from mae_hydra.models import STRATEGIES, keep_from_hidden, keep_from_noise, num_keep
from mae_hydra.models.mae.masking import NUM_BLOCKS, check_visible, hidden_from_keep, hidden_positions, patches_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("patches", "ratio", "expected"),
    [
        (196, 0.75, 49),
        (256, 0.75, 64),
        (196, 0.5, 98),
        (196, 0.6, 78),
        (100, 0.8, 19),  # 100 * (1 - 0.8) is 19.999999999999996 in floats
        (100, 0.9, 9),
        (400, 0.8, 79),
        (400, 0.9, 39),
    ],
)
def test_the_number_of_kept_patches_is_floored_as_in_the_original(patches, ratio, expected):
    assert num_keep(patches, ratio) == expected


def test_the_smallest_noise_is_kept_in_its_order_and_ties_go_to_the_earlier_patch():
    noise = torch.tensor([[0.5, 0.1, 0.9, 0.3], [0.2, 0.2, 0.2, 0.1]])
    assert keep_from_noise(noise, 2).tolist() == [[1, 3], [3, 0]]


def test_kept_and_hidden_positions_divide_the_patches():
    keep = torch.tensor([[4, 0], [1, 2]])
    hidden = hidden_from_keep(keep, 5)
    assert hidden.tolist() == [[False, True, True, True, False], [True, False, False, True, True]]
    assert hidden_positions(hidden, 3).tolist() == [[1, 2, 3], [0, 3, 4]]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("grid", [(8, 8), (14, 14), (3, 10), (7, 5)])
def test_every_strategy_ranks_every_patch_of_any_grid(name, grid):
    noise = STRATEGIES[name](6, grid, CPU)
    assert noise.shape == (6, grid[0] * grid[1])
    assert torch.isfinite(noise).all()
    assert all(len(row.unique()) == len(row) for row in noise)  # no ties: the choice is the noise's alone


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_strategy_is_a_function_of_the_seed_and_differs_between_images(name):
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(STRATEGIES[name](2, (8, 8), CPU))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])


def test_random_masking_keeps_every_patch_equally_often():
    torch.manual_seed(0)
    keep = keep_from_noise(STRATEGIES["random"](4000, (4, 4), CPU), 4)
    counts = torch.bincount(keep.flatten(), minlength=16)
    assert (counts.float() / 4000 - 0.25).abs().max() < 0.03  # four standard deviations


def test_grid_masking_at_three_quarters_keeps_one_patch_of_each_two_by_two():
    keep = keep_from_noise(STRATEGIES["grid"](3, (6, 8), CPU), num_keep(48, 0.75))
    visible = ~hidden_from_keep(keep, 48).view(3, 3, 2, 4, 2)
    assert (visible.sum((2, 4)) == 1).all()
    assert visible[:, :, 0, :, 0].all()  # the same one everywhere: a regular grid


def test_grid_masking_at_one_half_is_a_checkerboard():
    keep = keep_from_noise(STRATEGIES["grid"](1, (4, 4), CPU), 8)
    hidden = hidden_from_keep(keep, 16).view(4, 4)
    assert hidden.tolist() == [[(row + column) % 2 == 1 for column in range(4)] for row in range(4)]


@pytest.mark.parametrize("ratio", [0.4, 0.5, 0.75])
def test_block_masking_hides_exactly_as_many_patches_in_coherent_regions(ratio):
    torch.manual_seed(0)
    count = num_keep(196, ratio)
    borders = {}
    for name in ("block", "random"):
        hidden = hidden_from_keep(keep_from_noise(STRATEGIES[name](64, (14, 14), CPU), count), 196)
        assert (hidden.sum(1) == 196 - count).all()
        field = hidden.view(-1, 14, 14)
        borders[name] = (field[:, 1:] != field[:, :-1]).sum() + (field[:, :, 1:] != field[:, :, :-1]).sum()
    assert borders["block"] < 0.5 * borders["random"]


@pytest.mark.parametrize(
    ("drawn", "rows", "columns"),
    [
        (0.0, range(9), range(3)),  # 8 % of 280 patches, 10/3 as high as wide, in the corner: 8.6 x 2.6
        (0.999, range(8, 14), range(1, 20)),  # 40 %, 0.3 as high as wide: 5.8 x 19.3, as far down and right as it goes
    ],
)
def test_rectangles_have_the_area_shape_and_place_that_is_drawn(monkeypatch, drawn, rows, columns):
    monkeypatch.setattr(torch, "rand", lambda *shape, device: torch.full(shape, drawn))
    noise = STRATEGIES["block"](1, (14, 20), CPU)[0].view(14, 20)
    expected = torch.zeros(14, 20, dtype=torch.bool)
    expected[rows.start : rows.stop, columns.start : columns.stop] = True
    assert torch.equal(noise == noise.max(), expected)  # the first to be hidden


def test_the_rectangles_of_an_image_cover_nearly_always_nearly_all_of_it():
    torch.manual_seed(0)
    noise = STRATEGIES["block"](200, (14, 14), CPU)
    covered = (noise > 1 - NUM_BLOCKS).float().mean(1)
    assert (covered > 0.95).float().mean() > 0.95


def test_positions_follow_from_a_mask_of_ones_own():
    hidden = torch.tensor([[True, False, True, False], [False, False, True, True]])
    assert keep_from_hidden(hidden).tolist() == [[1, 3], [0, 1]]
    with pytest.raises(ValueError, match=r"equally many patches, got \[2, 1\]"):
        keep_from_hidden(torch.tensor([[True, False, True], [False, False, True]]))
    for make, count in ((torch.ones, 3), (torch.zeros, 0)):
        with pytest.raises(ValueError, match=f"between 1 and 2 patches must be hidden, got {count}"):
            keep_from_hidden(make(2, 3, dtype=torch.bool))


def test_a_block_is_its_patches_row_by_row():
    # 4 x 6 patches in blocks of 2 x 2: the second block of the first row, the first of the second.
    assert patches_of(torch.tensor([[1, 3]]), (2, 3), 2).tolist() == [[2, 3, 8, 9, 12, 13, 18, 19]]
    assert patches_of(torch.tensor([[2], [0]]), (1, 3), 1).tolist() == [[2], [0]]


@pytest.mark.parametrize(
    ("grid", "side", "message"),
    [
        (
            (14, 14),
            4,
            "divide the grid of 14x14 patches, got 4: .* multiple of patch_size x mask_block",
        ),
        ((8, 6), 4, "mask_block must divide the grid of 8x6 patches"),
        ((8, 8), 0, "mask_block must divide"),
        ((8, 8), 8, "leaves none of 1 blocks of 8x8 patches to see"),
        ((1, 3), 1, "leaves none of 3 patches to see"),
    ],
)
def test_blocks_that_do_not_fit_or_leave_nothing_are_refused(grid, side, message):
    with pytest.raises(ValueError, match=message):
        check_visible(grid, 0.75, side)
