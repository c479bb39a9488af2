"""What "auto" stands for: bf16 where a processor has units for it and a model is wide enough; and its record."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_training import settings

from mae_hydra import precision
from mae_hydra.configuration.from_file import wrong_kind
from mae_hydra.errors import UserError
from mae_hydra.precision import are_wide, check_numbers, has_matrix_units, note_of, resolved
from mae_hydra.recorded.tables import DATA
from mae_hydra.workflows import evaluation_plan

WIDE, NARROW = [torch.empty(768, 512)], [torch.empty(192, 768)]
KERNEL, POSITIONS = torch.empty(512, 57, 3, 3), torch.empty(1, 196, 9999)


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_matrix_units", lambda: True)


@pytest.mark.parametrize(
    ("weights", "wide"),
    [(WIDE, True), (NARROW, False), ([], False), ([torch.empty(10**6)], False), ([KERNEL], True),
     ([KERNEL[:, :56]], False), ([POSITIONS], False), ([*WIDE, torch.empty(511, 256)], True),
     ([*WIDE, torch.empty(513, 256)], False), ([*WIDE, torch.empty(512, 256)], True)],
)  # fmt: skip
def test_most_weights_are_in_wide_matrices(weights: list[torch.Tensor], wide: bool) -> None:
    assert are_wide(weights) is wide


def test_of_sharded_weights_none_is_asked_for() -> None:
    class Share:  # of weights that lie on several processes: what is not named here they would have to talk about
        shape = torch.Size([768, 64, 3, 3])

        def dim(self) -> int:
            return 4

        def numel(self) -> int:
            return self.shape.numel()

    assert are_wide([Share()])  # type: ignore[list-item]


def test_auto_takes_the_units_for_a_wide_model_alone(units: None) -> None:
    assert [resolved("auto", "cpu", weights) for weights in (WIDE, NARROW, [])] == ["bf16", "fp32", "fp32"]
    assert [resolved(told, "cpu", WIDE) for told in ("fp32", "fp16", "bf16")] == ["fp32", "fp16", "bf16"]
    assert resolved("auto", "cuda", NARROW) == "bf16"


def test_without_units_auto_is_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_matrix_units", lambda: False)
    assert resolved("auto", "cpu", WIDE) == "fp32"


@pytest.mark.parametrize("there", [True, False])
def test_torch_is_asked_for_the_units(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    told = {"amx_bf16": there, "avx512_bf16": True}  # instructions for bf16 are no units
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    assert has_matrix_units() is there
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in an older torch
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: there)
    assert has_matrix_units() is there
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_matrix_units()


def test_a_run_goes_on_in_the_precision_that_it_began_with(units: None) -> None:
    auto = settings(device="cpu", precision="auto")
    assert auto.settled(WIDE).precision == "bf16"
    assert auto.settled(WIDE, "fp32").precision == "fp32"
    assert auto.settled(NARROW, "bf16").precision == "bf16"
    assert settings(device="cpu", precision="fp16").settled(WIDE, "fp32").precision == "fp16"
    assert auto.resolved_precision == "fp32"  # what runs had that recorded none


@pytest.mark.parametrize(("told", "dtype"), [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_product_is_in_the_precision_that_is_told(told: str, dtype: torch.dtype | None) -> None:
    with precision.computing(told, "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (dtype or torch.float32)


@pytest.mark.parametrize(
    ("weights", "cuda", "written"), [(WIDE, False, "bf16"), (NARROW, False, "auto"), (WIDE, True, "auto")]
)
def test_an_evaluation_writes_down_what_the_device_alone_does_not_say(
    units: None, monkeypatch: pytest.MonkeyPatch, weights: list[torch.Tensor], cuda: bool, written: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    found: Any = SimpleNamespace(tree={"engine": {"precision": "auto", "device": "auto"}})
    checkpoint: Any = SimpleNamespace(tensors=dict(enumerate(weights)))
    said = evaluation_plan._settle_precision(found, checkpoint)
    assert found.tree["engine"]["precision"] == written
    assert bool(said) is (written == "bf16")


def test_no_record_holds_a_precision_that_there_is_not() -> None:
    data = {"root": None, "classes": [], "train": {}, "validation": {}}
    assert wrong_kind(data | {"precision": "bf16"}, DATA) is None
    assert "precision" in str(wrong_kind(data | {"precision": "fp7"}, DATA))


@pytest.mark.parametrize(
    ("chosen", "units", "gain", "weights", "said"),
    [
        ("bf16", True, 6.0, WIDE,
         "computes in bf16, for which this processor has matrix units; --x fp32 for full precision"),
        ("bf16", False, 1.94, (), "computes in bf16, in which it began"),
        ("bf16", False, 0.5, (),
         "computes in bf16, in which it began; this processor has no units for it and is slower in it"),
        ("fp32", False, 1.94, WIDE, "computes in fp32; this processor multiplies 1.9 times as fast in bf16: --x bf16"),
        ("fp32", False, 1.5, WIDE, "computes in fp32; this processor multiplies 1.5 times as fast in bf16: --x bf16"),
        ("fp32", False, 1.49, WIDE, None), ("fp32", False, 1.94, NARROW, None), ("fp32", False, 1.94, (), None),
    ],
)  # fmt: skip
def test_a_choice_is_said_where_another_would_be_as_good(
    monkeypatch: pytest.MonkeyPatch, chosen: str, units: bool, gain: float, weights: Any, said: str | None
) -> None:
    monkeypatch.setattr(precision, "has_matrix_units", lambda: units)
    monkeypatch.setattr(precision, "bf16_gain", lambda: gain)
    assert note_of("auto", chosen, "cpu", "--x ", iter(weights)) == ([said] if said else [])
    for quiet in ((chosen, chosen, "cpu"), ("auto", chosen, "cuda")):
        assert note_of(*quiet, "--x ", WIDE) == []


def test_nothing_is_timed_for_a_narrow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_gain", lambda: pytest.fail("a product was timed"))
    assert note_of("auto", "fp32", "cpu", "--x ", NARROW) == []


def test_one_value_that_is_no_number_among_many_or_alone_is_an_error() -> None:
    nan, inf = float("nan"), float("inf")
    for fine in ([], [0.0], [inf, -inf, 1.0]):
        check_numbers(torch.tensor(fine), "the logits")
    for values in ([nan], [1.0, nan, 2.0], [inf, nan]):
        with pytest.raises(UserError, match=r"^the logits are no numbers \(NaN\)"):
            check_numbers(torch.tensor(values), "the logits")
