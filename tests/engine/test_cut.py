"""The declared batch is what is trained on, or an error says which would be."""

import pytest

from mae_hydra.engine import Cut, cut_batch


@pytest.mark.parametrize(
    ("global_batch", "batch_size", "world_size", "expected"),
    [
        (16, 16, 1, Cut(16, 1, 1)),
        (16, 64, 1, Cut(16, 1, 1)),  # the device could take more
        (16, 4, 1, Cut(4, 4, 1)),
        (16, 2, 8, Cut(2, 1, 8)),  # mmsegmentation's 8 x 2
        (16, 7, 1, None),  # three micro-batches of 16 images
        (12, 5, 1, Cut(4, 3, 1)),
        (4096, 64, 8, Cut(64, 8, 8)),
    ],
)
def test_a_step_has_exactly_the_declared_images_in_as_few_micro_batches_as_fit(
    global_batch, batch_size, world_size, expected
):
    if expected is None:
        with pytest.raises(ValueError, match="cannot be cut into"):
            cut_batch(global_batch, batch_size, world_size)
        return
    cut = cut_batch(global_batch, batch_size, world_size)
    assert cut == expected
    assert cut.micro_batch * cut.accumulate * world_size == global_batch
    assert cut.micro_batch <= batch_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 1), "global_batch must be at least 1, got 0"),
        ((16, 0, 1), "batch_size must be at least 1, got 0"),
        ((10, 4, 4), "global_batch 10 is not a multiple of the 4 processes; nearest: 8 or 12"),
        ((3, 4, 8), "global_batch 3 is not a multiple of the 8 processes; nearest: 8"),
        (
            (10, 4, 1),
            "3 equal micro-batches of at most batch_size 4; nearest: batch_size 2 or 5, or global_batch 9 or 12",
        ),
    ],
)
def test_what_does_not_come_out_even_names_what_would(arguments, message):
    with pytest.raises(ValueError, match=message):
        cut_batch(*arguments)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_suggested_values_are_valid(world_size):
    for per_process in range(1, 40):
        for batch_size in range(1, 20):
            try:
                cut_batch(per_process * world_size, batch_size, world_size)
            except ValueError as error:
                sizes, batches = str(error).split("nearest: batch_size ")[1].split(", or global_batch ")
                for size in sizes.split(" or "):
                    cut_batch(per_process * world_size, int(size), world_size)
                for batch in batches.split(" or "):
                    cut_batch(int(batch), batch_size, world_size)
