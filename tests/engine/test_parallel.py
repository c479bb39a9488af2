"""Several processes, and compiled blocks: the same numbers, the same keys."""

import itertools
import os
import sys
import textwrap
from pathlib import Path

import forked
import pytest
import torch
from normalised_models import batch_of, model_of, step_of
from tiny_training import TinySegmenter, images_of, settings
from torch import nn

from mae_hydra.benchmark.estimate import example_batch
from mae_hydra.benchmark.memory import kept_bytes
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.distributed import (
    all_reduce_sum,
    any_rank,
    barrier,
    broadcast_object,
    is_main,
    rank,
    session,
    world_size,
)
from mae_hydra.engine import State, train_step, wrap
from mae_hydra.engine.parallel import recompute_blocks
from mae_hydra.engine.sharding import full_tensor
from mae_hydra.errors import UserError
from mae_hydra.seeds import seed_device
from mae_hydra.types import Batch

CPU = torch.device("cpu")
MICRO_BATCHES = (1, 2)  # of a step


def test_one_process_is_the_main_one_and_adds_up_nothing():
    with session(CPU):
        assert (rank(), world_size(), is_main()) == (0, 1, True)
        assert all_reduce_sum(torch.tensor(3.0)).item() == 3.0
        assert (any_rank(True, CPU), any_rank(False, CPU)) == (True, False)
        assert broadcast_object("here") == "here"
        barrier()


def one_step(batches: list[Batch]) -> tuple[dict[str, torch.Tensor], float, float]:
    torch.manual_seed(rank())  # ranks start differently: wrapping makes them equal
    model = TinySegmenter()
    forward = wrap(model, settings())
    state = State(model, torch.optim.SGD(model.parameters(), lr=1.0), settings().scaler())
    result = train_step(state, forward, iter(batches), accumulate=len(batches), settings=settings())
    return model.state_dict(), (result.sums["loss"] / result.count).item(), result.grad_norm.item()


def share(process: int, processes: int, accumulate: int) -> list[Batch]:
    whole, size = images_of(0), 8 // processes // accumulate
    starts = [process * 8 // processes + number * size for number in range(accumulate)]
    return [Batch(whole.images[s : s + size], whole.labels[s : s + size]) for s in starts]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """What two processes over Gloo have found; see the end of this file."""
    found = tmp_path_factory.mktemp("ranks")
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    forked.run(found, *torchrun, __file__, str(found), PYTHONPATH=os.pathsep.join(sys.path)).check_returncode()
    return found


@pytest.mark.slow
def test_two_ranks_equal_one(two_ranks):
    """With the first rank counting far fewer pixels than the second, and its first micro-batch hardly any."""
    weights, loss, norm = one_step(share(0, 1, 1))
    for process, accumulate in itertools.product(range(2), MICRO_BATCHES):
        theirs = torch.load(two_ranks / f"{process}-{accumulate}.pt", weights_only=True)
        assert theirs["loss"] == pytest.approx(loss, rel=1e-5)
        assert theirs["norm"] == pytest.approx(norm, rel=1e-4)
        for name, value in weights.items():
            torch.testing.assert_close(theirs["model"][name], value, rtol=1e-4, atol=1e-6)
        assert theirs["any"] == [True, False]


# How 8 images are shared out over two processes and their micro-batches.
CUTS = {
    "4 in each process": (((4,), (4,)), {}),
    "5 in one and 3 in the other": (((5,), (3,)), {}),
    "2 x 2 in each process": (((2, 2), (2, 2)), {"batch_norm": "step"}),
    "3 one by one and 5 as 2 + 2 + 1, recomputed": (
        ((1, 1, 1), (2, 2, 1)),
        {"batch_norm": "step", "recompute": True},
    ),
    "2 x 2 in each process, sharded": (((2, 2), (2, 2)), {"batch_norm": "step", "parallel": "fsdp"}),
}


def normalised_share(name: str, cut: str, process: int) -> tuple[list[Batch], dict[str, str]]:
    sizes, changes = CUTS[cut]
    whole = batch_of(model_of(name))
    assert whole.labels is not None
    parts = [size for each in sizes for size in each]
    batches = [Batch(*pair) for pair in zip(whole.images.split(parts), whole.labels.split(parts), strict=True)]
    first = len(sizes[0]) if process else 0
    return batches[first : first + len(sizes[process])], changes


@pytest.mark.slow
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["upernet", "linear probe"])
def test_batch_normalisation_of_two_ranks_is_that_of_one(two_ranks, name, cut):
    """Loss, gradient and running statistics of the real models over Gloo are those of 8 images in one piece."""
    result, expected = step_of(model_of(name), [batch_of(model_of(name))])
    for process in range(2):
        theirs = torch.load(two_ranks / f"{name}-{cut}-{process}.pt", weights_only=True)
        assert theirs.pop("loss") == pytest.approx(result.sums["loss"].item(), rel=1e-12)
        assert theirs.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(theirs[key], value, rtol=1e-9, atol=1e-11, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.slow
def test_modules_of_two_ranks_that_read_bf16_give_nearly_the_step_of_one(two_ranks):
    """Each rank rounds the gradients of its own images, so not to the last bit."""
    model = model_of("upernet").float()
    _, expected = step_of(model, [batch_of(model)], precision="bf16_params")
    gradients = [torch.load(two_ranks / f"bf16-{process}.pt", weights_only=True) for process in range(2)]
    whole = torch.cat([value.flatten() for name, value in expected.items() if not name.startswith("statistic")])
    flat = [
        torch.cat([each[name].flatten() for name in expected if not name.startswith("statistic")]) for each in gradients
    ]
    assert torch.equal(*flat)
    assert flat[0].dtype == torch.float32
    assert (flat[0] - whole).norm() < 0.02 * whole.norm()


class Blocks(nn.Module):
    num_depths = 1

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.GELU()) for _ in range(3))

    def depth_of(self, name: str) -> int:
        return 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_compiled_blocks_compute_the_same_under_the_same_keys():
    model = Blocks()
    keys, x = list(model.state_dict()), torch.randn(2, 4)
    expected = model(x)
    wrap(model, settings(compile=True))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.testing.assert_close(model(x), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1  # it was compiled
    assert list(model.state_dict()) == keys


MAE = ["backbone.depth=3", "backbone.out_indices=[2]"]
UPERNET = ["model=upernet_vitt", "head.channels=8", "data.batch_size=4", "data.image_size=64", "backbone.depth=4"]
UPERNET += ["backbone.out_indices=[0,1,2,3]"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [MAE, UPERNET], ids=["mae", "upernet"])
def test_compiled_blocks_are_compiled_once_and_not_again_over_steps(tmp_path, words):
    """In a process of its own: the shape checks of these tests are Python that a graph cannot hold."""
    script = f"""
        import functools
        import sys
        import torch
        from mae_hydra.launching.launch import launch
        overrides = ["+debug=smoke", "engine=cpu", "engine.compile=true", "schedule.total=12", "data.num_workers=0"]
        overrides += ["backbone.drop_path_rate=0.1", *{words}]
        # The graphs are the compiler's; that a kernel of them computes the same is another test's.
        torch.compile = functools.partial(torch.compile, backend="aot_eager")
        assert launch([*overrides, "data.num_train=32", "data.num_validation=4", "paths.output_root={tmp_path}"]) == 0
        counters = torch._dynamo.utils.counters
        graphs = counters["stats"]["unique_graphs"]
        # One for encoder and decoder blocks each, in training and in evaluation; the blocks of a stack share theirs.
        assert 2 <= graphs <= 8, graphs
        assert not counters["graph_break"], counters["graph_break"]
        [saved] = __import__("pathlib").Path("{tmp_path}").rglob("last.pt")
        assert not any("_orig_mod" in name for name in torch.load(saved, weights_only=True)["model"])
    """
    done = forked.run(tmp_path, "-c", textwrap.dedent(script))
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("words", [MAE, UPERNET], ids=["mae", "upernet"])
def test_recomputed_blocks_give_the_same_step_to_the_last_bit_and_keep_less(words):
    config = compose_config(["data.batch_size=4", "backbone.drop_path_rate=0.3", *words])
    results = []
    for recompute in (False, True):
        seed_device(0, "init")
        model = build(config.model, "model").train()
        keys = list(model.state_dict())
        forward = wrap(model, settings(recompute=recompute))
        batch = example_batch(model, 4)

        def step(forward=forward, batch=batch):
            seed_device(0, "step")
            forward(batch).total.backward()

        kept = kept_bytes(step)
        results.append((kept, [parameter.grad for parameter in model.parameters()]))
        assert list(model.state_dict()) == keys
    (much, expected), (little, found) = results
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert little < 0.6 * much


def test_without_a_compiler_training_goes_on_with_a_note(monkeypatch, capsys):
    def none_found(function):
        def call(*_):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", none_found)
    model = TinySegmenter()
    wrap(model, settings(compile=True))
    assert "engine.compile needs a working compiler" in capsys.readouterr().out


if __name__ == "__main__":
    with session(CPU):
        for accumulate in MICRO_BATCHES:
            weights, loss, norm = one_step(share(rank(), world_size(), accumulate))
            agreed = [any_rank(rank() == 1, CPU), any_rank(False, CPU)]
            content = {"model": weights, "loss": loss, "norm": norm, "any": agreed}
            torch.save(content, Path(broadcast_object(sys.argv[1])) / f"{rank()}-{accumulate}.pt")
        for name, cut in itertools.product(["upernet", "linear probe"], CUTS):
            batches, changes = normalised_share(name, cut, rank())
            result, found = step_of(model_of(name), batches, **changes)
            content = {"loss": result.sums["loss"].item()} | {key: full_tensor(value) for key, value in found.items()}
            torch.save(content, Path(sys.argv[1]) / f"{name}-{cut}-{rank()}.pt")
        batches, _ = normalised_share("upernet", "4 in each process", rank())
        _, found = step_of(model_of("upernet").float(), batches, precision="bf16_params")
        torch.save(found, Path(sys.argv[1]) / f"bf16-{rank()}.pt")
        barrier()


def test_batch_statistics_are_not_counted_twice():
    """A running mean would move by 1 - 0.9^2 of the way, where evaluation then sees another network."""
    model = nn.Module()
    model.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))])
    with pytest.raises(UserError, match=r"the batch normalization in these would count each image twice; use engine\."):
        recompute_blocks(model)
    recompute_blocks(model.eval())  # frozen, it counts nothing


def test_of_a_model_without_blocks_it_is_said_that_nothing_is_computed_again(capsys):
    recompute_blocks(torch.nn.Linear(2, 2))
    assert "engine.recompute changes nothing: Linear has no list of modules named …blocks" in capsys.readouterr().out
