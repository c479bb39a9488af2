"""Products in fp32 by oneDNN instead of MKL: the same numbers, gradients and errors, and a measured choice."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mae_hydra import products
from mae_hydra.errors import UserError
from mae_hydra.products import bf16_gain, faster, plainly, rates, take, taken

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
FAST = {"torch": 1e9, "onednn": 1.3e9, "bf16": 2.6e9}


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Products by oneDNN, whatever this processor does better: (rows, summands, columns) of those that went there."""
    seen: list[tuple[int, ...]] = []
    real = products._onednns

    def noted(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        seen.append((*left.shape, right.shape[1]))
        return real(left, right, bias)

    monkeypatch.setattr(products, "_onednns", noted)
    take("onednn")
    yield seen
    take("torch")


def matrices(rows: int, summands: int, columns: int, **how: Any) -> tuple[torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(rows + columns)
    return torch.randn(rows, summands, generator=dice, **how), torch.randn(summands, columns, generator=dice, **how)


def test_products_and_their_gradients_are_torchs(led: list[tuple[int, ...]]) -> None:
    found = []
    for plain in (True, False):
        inputs, weight = matrices(300, 256, 400)
        weight = weight.t().contiguous()
        tensors = [inputs, weight, torch.linspace(-1, 1, 400)]
        for tensor in tensors:
            tensor.requires_grad_()
        if plain:
            with plainly():
                result = linear(*tensors)
                result.sin().sum().backward()
            assert led == []
        else:
            result = linear(*tensors)
            result.sin().sum().backward()
        found.append((result.detach(), *(tensor.grad for tensor in tensors)))
    assert led == [(300, 256, 400), (300, 400, 256), (400, 300, 256)]  # forwards, of the inputs, of the weights
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    assert not torch.equal(found[0][0], found[1][0])  # other roundings: it really was another library


@pytest.mark.parametrize(
    ("rows", "summands", "columns", "goes"),
    [(128, 128, 128, True), (127, 128, 128, False), (128, 127, 128, False), (128, 128, 127, False)],
)
def test_small_products_stay_where_they_are(
    led: list[tuple[int, ...]], rows: int, summands: int, columns: int, goes: bool
) -> None:
    left, right = matrices(rows, summands, columns)
    assert torch.mm(left, right.t().contiguous().t()).shape == (rows, columns)
    assert bool(led) is goes


@pytest.mark.parametrize(
    ("rows", "columns", "turned", "goes"),
    [(256, 128, "right", True), (255, 128, "right", False), (128, 256, "left", True), (128, 255, "left", False)],
)
def test_a_matrix_is_copied_where_the_product_pays_for_it(
    led: list[tuple[int, ...]], rows: int, columns: int, turned: str, goes: bool
) -> None:
    left, right = matrices(rows, 128, columns)
    given = (left, right) if turned == "right" else (left.t().contiguous().t(), right.t().contiguous().t())
    found = given[0] @ given[1]
    assert bool(led) is goes
    with plainly():
        torch.testing.assert_close(found, left @ right, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64, torch.int64])
def test_other_types_are_torchs(led: list[tuple[int, ...]], dtype: torch.dtype) -> None:
    left, right = (matrix.to(dtype) for matrix in matrices(256, 256, 256))
    found, added = left @ right, torch.addmm(right[0], left, right)
    with plainly():
        assert torch.equal(found, left @ right)
        assert torch.equal(added, torch.addmm(right[0], left, right))
    assert (led, found.dtype) == ([], dtype)


def test_sums_with_other_factors_or_whole_matrices_are_torchs(led: list[tuple[int, ...]]) -> None:
    left, right = matrices(256, 256, 256)
    for added, how in ((left, {}), (left[0], {"beta": 0.5}), (left[0], {"alpha": 2}), (left[:, :1], {})):
        found = torch.addmm(added, left, right, **how)
        with plainly():
            assert torch.equal(found, torch.addmm(added, left, right, **how))
    assert led == []
    torch.addmm(left[0], left, right)
    assert led == [(256, 256, 256)]


@pytest.mark.parametrize("form", ["a column", "every second", "one number for all", "zeros that are nowhere"])
def test_a_bias_may_lie_in_any_order(led: list[tuple[int, ...]], form: str) -> None:
    left, right = matrices(256, 256, 256)
    bias = {
        "a column": left[:, 0], "every second": torch.randn(512)[::2], "one number for all": left[0, :1].expand(256),
        "zeros that are nowhere": torch._efficientzerotensor((256,)),
    }[form]  # fmt: skip
    found = torch.addmm(bias, left, right)
    weighted = linear(left, right.t(), bias)
    with plainly():
        torch.testing.assert_close(found, torch.addmm(bias, left, right), rtol=1e-5, atol=2e-4)
        torch.testing.assert_close(weighted, found, rtol=1e-5, atol=2e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch of itself, for derivatives along
def test_views_and_all_kinds_of_derivatives_are_torchs(led: list[tuple[int, ...]]) -> None:
    left, right = matrices(256, 256, 256)
    values = torch.randn(256, 256, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    views = [torch._neg_view(left), values.conj().imag, values.real, left[:1].expand(256, 256), left.flip(0).t()]

    def second(inputs: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda x: (torch.func.grad(lambda y: (y @ right).sin().sum())(x) ** 2).sum())(inputs)

    def results() -> list[torch.Tensor]:
        with torch.inference_mode():
            inferred = (left @ right).clone()
        along = torch.func.jvp(lambda x: x @ right, (left,), (left.cos(),))[1]
        return [
            *(view @ right for view in views),
            *(right @ view for view in views),
            inferred,
            along,
            second(left / 16),
        ]

    found = results()
    assert len(led) >= 12
    with plainly():
        for ours, theirs in zip(found, results(), strict=True):
            assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_what_does_not_fit_is_refused_in_torchs_words(led: list[tuple[int, ...]]) -> None:
    square, vector = torch.ones(256, 256), torch.ones(256)
    wrong = [
        lambda: torch.mm(square, torch.ones(300, 256)), lambda: torch.mm(vector, square),
        lambda: torch.mm(square, square.double()), lambda: torch.addmm(torch.ones(7), square, square),
        lambda: torch.addmm(vector, square, torch.ones(300, 256)),
    ]  # fmt: skip
    for call in wrong:
        told = []
        for plain in (True, False):
            with pytest.raises(RuntimeError) as raised, plainly() if plain else torch.enable_grad():
                call()
            told.append(str(raised.value))
        assert told[0] == told[1]
    assert led == []


def test_counters_and_autocast_see_torchs_operators(led: list[tuple[int, ...]]) -> None:
    left, right = matrices(256, 256, 256)
    names: list[str] = []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(function))
            return function(*args, **(kwargs or {}))

    with FlopCounterMode(display=False) as counter:
        left @ right
    with Seen():
        left @ right
    assert (counter.get_total_flops(), names) == (2 * 256**3, ["aten.mm.default"])
    assert len(led) == 2
    with torch.autocast("cpu", torch.bfloat16):
        assert (left @ right).dtype == torch.bfloat16
    assert len(led) == 2
    mapped = torch.func.vmap(lambda each: each @ right)(left[None].repeat(2, 1, 1))
    assert len(led) == 3
    with plainly():
        torch.testing.assert_close(mapped[1], left @ right, rtol=1e-5, atol=2e-4)


def test_only_where_it_is_clearly_faster_and_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for rate, device, expected in (
        (1.3e9, "cpu", "onednn"), (1.29e9, "cpu", "torch"), (0.0, "cpu", "torch"), (1.3e9, "cuda", "torch"),
    ):  # fmt: skip
        monkeypatch.setattr(products, "rates", lambda rate=rate: FAST | {"onednn": rate})
        assert faster(device) == expected
    monkeypatch.setattr(products, "rates", lambda: pytest.fail("a product was timed for an accelerator"))
    assert faster("cuda") == "torch"


def test_a_library_is_taken_until_another_is_and_plainly_is_torchs_for_a_while(led: list[tuple[int, ...]]) -> None:
    left, right = matrices(256, 256, 256)
    with plainly():
        assert taken() == "torch"
        with plainly():
            left @ right
        assert taken() == "torch"
    assert (taken(), led) == ("onednn", [])
    left @ right
    take("torch")
    left @ right
    assert (taken(), len(led)) == ("torch", 1)


def test_without_onednn_nothing_is_led_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products.torch.library, "Library", lambda *_: pytest.fail("torch's operators were led away"))
    monkeypatch.setattr(products, "_led", None)
    take("torch")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    take("onednn")  # of a run that began elsewhere
    assert taken() == "torch"  # which its record says from here on


def test_a_name_that_a_file_tells_and_nobody_knows_is_torchs() -> None:
    take("nonsense")
    assert taken() == "torch"


def test_a_person_may_choose_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "rates", lambda: FAST)
    monkeypatch.setenv("MAE_HYDRA_PRODUCTS", "torch")
    assert faster() == "torch"
    monkeypatch.setattr(products, "rates", lambda: FAST | {"onednn": 0.0})
    monkeypatch.setenv("MAE_HYDRA_PRODUCTS", "onednn")
    assert (faster("cpu"), faster("cuda")) == ("onednn", "torch")
    monkeypatch.setenv("MAE_HYDRA_PRODUCTS", "mkl")
    with pytest.raises(UserError, match="is one of torch and onednn, or unset for the faster one, got mkl"):
        faster()
    monkeypatch.setenv("MAE_HYDRA_PRODUCTS", "")
    assert faster() == "torch"


def test_bf16_is_compared_with_the_library_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, gain in ((FAST, 2.0), (FAST | {"onednn": 1.2e9}, 2.6), (FAST | {"bf16": 0.0}, 0.0)):
        monkeypatch.setattr(products, "rates", lambda found=found: found)
        assert bf16_gain() == pytest.approx(gain)


def test_rates_are_the_best_of_some_and_none_of_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([0.1, 0.1, 4.0, 1.0, 2.0, 0.5, 3.0, 2.0, 5.0, 2.0] + [6.0, 3.0] * 4)  # the first two do not count
    threads: list[int] = []
    now, before = [0.0], torch.get_num_threads()

    def product(*_: Any) -> torch.Tensor:
        now[0] += next(taken)
        threads.append(torch.get_num_threads())
        return torch.zeros(1)

    monkeypatch.setattr(products.time, "thread_time", lambda: now[0])
    monkeypatch.setattr(products, "_torchs_mm", product)
    monkeypatch.setattr(products, "_onednns", product)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    assert rates.__wrapped__() == {"torch": 2 * 384**3 / 2.0, "onednn": 2 * 384**3 / 0.5, "bf16": 0.0}
    assert (set(threads), torch.get_num_threads()) == ({1}, before)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    taken = iter([0.1, 4.0, 1.0, 2.0, 5.0, 3.0, 6.0, 7.0, 8.0])
    assert rates.__wrapped__() == {"torch": 2 * 384**3 / 1.0, "onednn": 0.0, "bf16": 0.0}


def test_rates_of_this_machine_are_possible_ones_whatever_torchs_defaults() -> None:
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = rates.__wrapped__()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)  # a run's numbers are its own
    assert list(found) == ["torch", "onednn", "bf16"]
    assert 1e8 < found["torch"] < 1e14
    assert 1e8 < found["onednn"] < 1e14


def test_a_process_ends_as_quietly_as_it_began() -> None:
    program = (
        "import torch; from mae_hydra import products; products.rates = lambda: "
        f"{FAST}; products.take(products.faster('cpu')); print(products.taken()); "
        "a = torch.randn(256, 256, requires_grad=True); (a @ a).sum().backward(); print(tuple(a.grad.shape))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("onednn\n(256, 256)\n", "")
