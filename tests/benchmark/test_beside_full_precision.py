"""A CPU that computes in less than fp32 stands beside itself and others in fp32, as others are shipped for it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mae_hydra.benchmark import pictures, verbs, workloads
from mae_hydra.benchmark.mmsegmentation import import_mmsegmentation
from mae_hydra.benchmark.results import Floor
from mae_hydra.benchmark.timing import Timing
from mae_hydra.engine import Settings

SMALL = [
    "model=mae_vitt", "data.batch_size=2", "backbone.embed_dim=32", "backbone.depth=1", "backbone.num_heads=2",
    "backbone.out_indices=[0]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2",
]  # fmt: skip


def settings_of(device: str, precision: str) -> Any:
    return SimpleNamespace(torch_device=torch.device(device), resolved_precision=precision)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[torch.dtype]]:
    """In which type each candidate multiplies matrices, once `alternate` is asked for times."""
    found: dict[str, set[torch.dtype]] = {}

    def alternate(calls: Any, **_: Any) -> dict[str, Timing]:
        plain = torch.nn.functional.linear
        for name, call in calls.items():
            types = found.setdefault(name, set())

            def noted(values: torch.Tensor, *weights: Any, types: set[torch.dtype] = types) -> torch.Tensor:
                result = plain(values, *weights)
                types.add(result.dtype)
                return result

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch.nn.functional, "linear", noted)
                call()
        return {name: Timing((1.0,)) for name in calls}

    for module in (verbs, pictures):
        monkeypatch.setattr(module, "alternate", alternate)
        monkeypatch.setattr(module, "matrix_floor", lambda flops, settings: Floor("products", 0.5))
    return found


def test_less_than_full_precision_is_that_of_a_cpu_alone() -> None:
    asked = [("cpu", "fp32"), ("cpu", "bf16"), ("cpu", "bf16_params"), ("cuda", "bf16"), ("cuda", "fp32")]
    assert [verbs.less_than_full(settings_of(*each)) for each in asked] == [False, True, True, False, False]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_step_in_bf16_stands_beside_all_in_fp32(precision: str, computed: dict[str, set[torch.dtype]]) -> None:
    found = verbs.step([*SMALL, "engine=cpu", f"engine.precision={precision}"], 1)
    reduced = {torch.bfloat16 if precision == "bf16" else torch.float32}
    names = ["mae_hydra", "plain timm", "Hugging Face ViTMAE"]
    expected = dict.fromkeys(names, reduced)
    if precision == "bf16":
        expected |= {f"{name}, fp32": {torch.float32} for name in names}
    assert computed == expected
    assert list(found.numbers["taken_bytes"]) == list(expected)
    assert found.numbers["precision"] == precision


def test_alone_means_alone(computed: dict[str, set[torch.dtype]]) -> None:
    verbs.step([*SMALL, "engine=cpu", "engine.precision=bf16"], 1, alone=True)
    assert list(computed) == ["mae_hydra"]


UPERNET = [
    "model=upernet_vitt", "data=scenes", "data.image_size=32", "backbone.embed_dim=32", "backbone.depth=4",
    "backbone.num_heads=2", "backbone.out_indices=[0,1,2,3]", "head.channels=16", "engine=cpu",
]  # fmt: skip


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_picture_in_bf16_stands_beside_loops_in_fp32(precision: str, computed: dict[str, set[torch.dtype]]) -> None:
    words = [*UPERNET, f"engine.precision={precision}"]
    found = pictures.inference(None, words, (32, 40), 1, alone=False, shares=False)
    own = ["Slide", pictures.PLAIN, *(["mmsegmentation"] if import_mmsegmentation() else [])]
    if precision == "fp32":
        assert computed == {name: {torch.float32} for name in own}
    else:
        for name in own:
            assert torch.bfloat16 in computed[name]
            assert computed[f"{name}, fp32"] == {torch.float32}
        assert list(computed) == [*own, *(f"{name}, fp32" for name in own)]
        # Rounding moves few of the classes, and moves some: what is compared is not the same numbers twice.
        assert 0.5 < found.numbers["equal_classes"]["Slide, fp32"] < 1
    assert list(found.numbers["equal_classes"]) == list(computed)[1:]
    assert found.numbers["agreeing_pixels"] == found.numbers["equal_classes"][pictures.PLAIN]


def test_a_step_in_fp32_is_that_of_the_same_model_with_else_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def noted(state: Any, forward: Any, batches: Any, *, accumulate: int, settings: Settings) -> None:
        seen.append((settings.precision, settings.recompute, id(state.model)))

    monkeypatch.setattr(workloads, "train_step", noted)
    monkeypatch.setattr(verbs, "_peers", lambda *_: {})
    monkeypatch.setattr(verbs, "_taken", lambda call, device: call())
    monkeypatch.setattr(verbs, "alternate", lambda calls, **_: {name: Timing((1.0,)) for name in calls})
    words = [*SMALL, "engine=cpu", "engine.precision=bf16", "engine.recompute=true"]
    assert list(verbs.step(words, 1).numbers["timings"]) == ["mae_hydra", "mae_hydra, fp32"]
    assert [told[:2] for told in seen] == [("bf16", True), ("bf16", True), ("fp32", True)]  # first its peak of memory
    assert len({model for _, _, model in seen}) == 1


def test_settings_are_taken_back_whatever_happens() -> None:
    works = [SimpleNamespace(settings="own"), SimpleNamespace(settings="others")]

    def call() -> None:
        assert [work.settings for work in works] == ["full", "full"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verbs._in("full", call, *works)  # type: ignore[arg-type]
    assert [work.settings for work in works] == ["own", "others"]
