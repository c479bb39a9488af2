"""Position tables of one grid of patches for another."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from mae_hydra.errors import UserError
from mae_hydra.relative_positions import num_relative_positions
from mae_hydra.weights.grids import POSITIONS, RELATIVE_TABLE, Grid
from mae_hydra.weights.layouts import num_cls_tokens
from mae_hydra.weights.read import Checkpoint
from mae_hydra.weights.resize import resize_positions, resize_relative_table


def with_positions(
    tensors: dict[str, Tensor], wanted: Mapping[str, Tensor], checkpoint: Checkpoint
) -> dict[str, Tensor]:
    """Put zeros in the place of the absolute positions that a model with a relative table may do without.

    Files of square grids have got theirs when they were read; of a rectangle the model tells the grid.
    """
    table, own = tensors.get(RELATIVE_TABLE), wanted.get(RELATIVE_TABLE)
    if table is None or own is None or POSITIONS in tensors:
        return tensors
    if len(table) != len(own):
        raise UserError(
            f"{checkpoint.path} has a table of {len(table)} relative positions, {len(own)} are in the model, and it "
            "does not say for which grid of patches; set data.image_size to that of the file"
        )
    return {**tensors, POSITIONS: table.new_zeros(wanted[POSITIONS].shape)}


def fit_grid(
    model: nn.Module,
    name: str,
    tensor: Tensor,
    own: Tensor,
    grids: tuple[Grid | None, Grid | None],
    checkpoint: Checkpoint,
) -> tuple[Tensor, str]:
    """The tensor for the model's grid, and what there is to say of it. `grids`: the file's, as known and as guessed."""
    positions = name.endswith("pos_embed") and tensor.ndim == 3
    table = name.endswith("relative_position_bias_table") and tensor.ndim == 2
    if not positions and not table:
        return tensor, ""
    target, (known, source), first = _grid_around(model, name), grids, num_cls_tokens(checkpoint.tensors)
    if target is None:  # of an encoder that resizes its own
        return tensor, ""
    if known is None and tensor.shape == own.shape:
        # As many rows as the model wants are the model's: a guess would tear a rectangle apart.
        square = target[0] == target[1]
        return tensor, "" if square else f"taken as {by(target)} patches, which the file does not tell"
    if source == target:
        return tensor, ""
    if source is None:
        raise UserError(
            f"{checkpoint.path} has positions for {checkpoint.tensors[POSITIONS].shape[1] - first} patches and does "
            "not say in which grid; set data.image_size so that the model has as many"
        )
    rows = source[0] * source[1] + first if positions else num_relative_positions(source)
    if rows != tensor.shape[1 if positions else 0]:
        raise UserError(f"{name} in {checkpoint.path} has {tuple(tensor.shape)} values, which fit no {by(source)} grid")
    if positions:
        return resize_positions(tensor, source, target, first), f"{by(source)} → {by(target)} patches, bicubic"
    return resize_relative_table(tensor, source, target), f"{by(source)} → {by(target)} patches, BEiT's spacing"


def _grid_around(model: nn.Module, name: str) -> Grid | None:
    """The grid of the closest module around a parameter that has one; None where none has."""
    path = name.split(".")[:-1]
    while path:
        grid = getattr(model.get_submodule(".".join(path)), "grid", None)
        if grid is not None:
            return grid
        path.pop()
    return None


def by(size: Iterable[int]) -> str:
    """Write a size as `14x14`."""
    return "x".join(map(str, size)) or "a single number"
