"""Which patches the encoder sees: every strategy is a function that gives noise, and the smallest noise is kept.

`keep`: int64 (B, K) indices of visible patches. `hidden`: bool (B, N), True = to be reconstructed. Shapes never depend
on values, and nothing waits for the device, unless a docstring says so.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Grid = tuple[int, int]

NUM_BLOCKS = 48  # rectangles drawn per image: enough to cover 95 % of the grid practically always
BLOCK_AREA = (0.08, 0.4)  # share of the grid; 16 patches of a 14 x 14 grid at least
BLOCK_ASPECT = 0.3  # height : width between this and its inverse


def num_keep(num_patches: int, mask_ratio: float) -> int:
    """K = int(N (1 - ratio)): floored, like the original, float rounding included (100 patches at 0.8 keep 19)."""
    return int(num_patches * (1 - mask_ratio))


def check_visible(grid: Grid, mask_ratio: float, side: int = 1) -> None:
    """ValueError where blocks of `side` x `side` patches do not fill the grid, or none of them would be seen."""
    height, width = grid
    if side < 1 or height % side or width % side:
        raise ValueError(
            f"mask_block must divide the grid of {height}x{width} patches, got {side}: choose another, or a "
            "data.image_size that is a multiple of patch_size x mask_block"
        )
    count = height * width // side**2
    if not num_keep(count, mask_ratio):
        what = "patches" if side == 1 else f"blocks of {side}x{side} patches"
        raise ValueError(f"mask_ratio {mask_ratio} leaves none of {count} {what} to see")


def random_noise(batch: int, grid: Grid, device: torch.device) -> Float[Tensor, "b n"]:
    """Uniform sampling without replacement."""
    return torch.rand(batch, grid[0] * grid[1], device=device)


def grid_noise(batch: int, grid: Grid, device: torch.device) -> Float[Tensor, "b n"]:
    """Regular sampling: the top-left patch of every 2 x 2 goes first, then its diagonal, then the other two.

    At ratio 0.75 and an even grid exactly one of every four is kept, at 0.5 a checkerboard; patches of equal rank are
    taken at random.
    """
    rows = torch.arange(grid[0], device=device)[:, None] % 2
    columns = torch.arange(grid[1], device=device)[None, :] % 2
    rank = torch.where(rows == columns, rows, 2 + rows).flatten()
    return rank + torch.rand(batch, grid[0] * grid[1], device=device)


def block_noise(batch: int, grid: Grid, device: torch.device) -> Float[Tensor, "b n"]:
    """Hidden patches form rectangles, as in BEiT: the earlier a block covers a patch, the sooner it is hidden.

    All rectangles are drawn at once, and the last one needed is hidden only in part, so that the count is exact.
    """
    height, width = grid
    draws = torch.rand(4, batch, NUM_BLOCKS, 1, device=device)
    area = height * width * (BLOCK_AREA[0] + (BLOCK_AREA[1] - BLOCK_AREA[0]) * draws[0])
    aspect = BLOCK_ASPECT ** (2 * draws[1] - 1)
    block_height = (area * aspect).sqrt().round().clamp(1, height)
    block_width = (area / aspect).sqrt().round().clamp(1, width)
    top = (draws[2] * (height - block_height + 1)).floor()
    left = (draws[3] * (width - block_width + 1)).floor()
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    in_rows = (rows >= top) & (rows < top + block_height)  # (B, blocks, h)
    in_columns = (columns >= left) & (columns < left + block_width)  # (B, blocks, w)
    covered = (in_rows[..., :, None] & in_columns[..., None, :]).flatten(2)
    first = torch.where(covered.any(1), covered.int().argmax(1), NUM_BLOCKS)
    return torch.rand(batch, height * width, device=device) - first


STRATEGIES: dict[str, Callable[[int, Grid, torch.device], Tensor]] = {
    "random": random_noise,
    "block": block_noise,
    "grid": grid_noise,
}


def keep_from_noise(noise: Float[Tensor, "b n"], count: int) -> Int64[Tensor, "b k"]:
    """Indices of the `count` smallest values of each row, in ascending order of noise; ties go to the earlier patch."""
    return noise.argsort(dim=1, stable=True)[:, :count]


def patches_of(blocks: Int64[Tensor, "b k"], grid: Grid, side: int) -> Int64[Tensor, "b _"]:
    """The side x side patches of each block (B, K), block after block, row by row; `grid`: in blocks."""
    columns = grid[1]
    within = torch.arange(side, device=blocks.device)
    within = (within[:, None] * columns * side + within).flatten()
    corners = (blocks // columns * columns * side + blocks % columns) * side
    return (corners[..., None] + within).flatten(1)


def hidden_from_keep(keep: Int64[Tensor, "b k"], num_patches: int) -> Bool[Tensor, "b n"]:
    """True where a patch is not kept."""
    everything = torch.ones(len(keep), num_patches, dtype=torch.bool, device=keep.device)
    return everything.scatter(1, keep, False)


def hidden_positions(hidden: Bool[Tensor, "b n"], count: int) -> Int64[Tensor, "b m"]:
    """Indices (B, M) of the `count` hidden patches of each row, in image order."""
    return hidden.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]


def some_of(positions: Int64[Tensor, "b m"], count: int) -> Int64[Tensor, "b _"]:
    """`count` of each row's positions, drawn at random, in the order in which they were given."""
    drawn = torch.rand(positions.shape, device=positions.device).argsort(dim=1)[:, :count]
    return positions.gather(1, drawn.sort(dim=1).values)


def keep_from_hidden(hidden: Bool[Tensor, "b n"]) -> Int64[Tensor, "b k"]:
    """Positions for `model(images, keep=...)` from a mask of one's own (True = hide). Waits for the device.

    Raises ValueError where the rows do not hide equally many patches: a batch is one rectangle of tokens.
    """
    counts = hidden.sum(1)
    if counts.unique().numel() > 1:
        raise ValueError(f"every image of a batch must hide equally many patches, got {counts.tolist()}")
    num_hidden = int(counts[0])
    if not 0 < num_hidden < hidden.shape[1]:
        raise ValueError(f"between 1 and {hidden.shape[1] - 1} patches must be hidden, got {num_hidden}")
    return hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, : hidden.shape[1] - num_hidden]
