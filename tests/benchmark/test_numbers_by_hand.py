"""The numbers of benchmarks where a hand can work them out: what is divided by what, and which row has it."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoint_files import make_mae
from rich.table import Table
from tiny_models import relative_encoder, upernet

from mae_hydra.benchmark import estimate, memory, mmsegmentation, peers, pictures, verbs
from mae_hydra.benchmark.estimate import Activations, activations_of_a_step
from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.results import Floor, timing_numbers
from mae_hydra.benchmark.timing import Timing
from mae_hydra.errors import UserError
from mae_hydra.inference import MultiscaleFlip, Slide, Whole
from mae_hydra.models import FCNHead
from mae_hydra.types import Batch
from mae_hydra.weights.layouts.mmseg import UPERNET

CPU = torch.device("cpu")


def cells(table: Table) -> list[list[str]]:
    columns = [list(map(str, column.cells)) for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def settings(**changes: Any) -> Any:
    """Settings of an engine that computes in fp32 here."""
    given = {"torch_device": CPU, "resolved_precision": "fp32", "settled": lambda parameters: settings()}
    return SimpleNamespace(**given | changes)


def test_what_batch_statistics_of_a_step_keep_is_counted_by_image_and_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(torch.nn.Module):
        answers, image_size = "pixels", (4, 4)
        encoder = SimpleNamespace(in_chans=3, image_size=(4, 4))

        def features(self, batch: Batch) -> list[torch.Tensor]:
            return [torch.zeros(len(batch), 3), torch.zeros(len(batch), 2)]

    monkeypatch.setattr(estimate, "activations", lambda *told, **more: Activations(100, 7))
    monkeypatch.setattr(estimate, "_kept", lambda model, precision, images, recompute: 5 + 60 * images)
    # Of 100 bytes of an image 60 are kept behind the encoder, of all images at once; their features are 5 numbers.
    assert activations_of_a_step(Model(), "fp32", 8) == Activations(40, 7 + 20 * 8, (60 - 20) * 8)
    assert [Activations(40, 7, 320).of(images) for images in (4, 8, 9)] == [327, 327, 367]


def test_blocks_that_are_computed_again_keep_their_inputs_and_the_largest_of_them_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Model(torch.nn.Module):
        answers, image_size = "reconstruction", (4, 4)
        encoder = SimpleNamespace(in_chans=3, image_size=(4, 4))

        def __init__(self) -> None:
            super().__init__()
            one = [torch.nn.Linear(6, 6), torch.nn.Sigmoid()]
            self.blocks = torch.nn.ModuleList([torch.nn.Sequential(*one), torch.nn.Sequential(*one, *one)])

        def loss(self, batch: Batch) -> torch.Tensor:
            values = torch.ones(len(batch), 6)
            for block in self.blocks:
                values = block(values)
            return values.sum()

    monkeypatch.setattr(estimate, "blocks_of", lambda model: model.blocks)
    # Of an image 6 numbers of 4 bytes each: the input, and what each of three sigmoids gives; or the inputs of both
    # blocks, beside the input and the two results of the larger one.
    assert estimate.activations(Model(), "fp32") == Activations(24 * 4, 0)
    assert estimate.activations(Model(), "fp32", recompute=True) == Activations(24 * (2 + 3), 0)
    monkeypatch.setattr(estimate, "_kept", lambda model, precision, images, recompute: 5 + 60 * images)
    assert estimate.activations(Model(), "fp32") == Activations(60, 5)


def test_a_machine_is_told_by_all_its_accelerators_or_by_its_processor() -> None:
    told = {"accelerators": ["A", "B"], "threads": 3, "processor": "P", "torch": "2.9", "load_at_start": 0.49}
    assert in_words(told) == "A, B, torch 2.9"
    assert in_words(told | {"accelerators": []}) == "3 threads of P, torch 2.9"
    assert in_words(told | {"accelerators": [], "threads": 1}) == "1 thread of P, torch 2.9"
    assert in_words(told | {"load_at_start": 0.5}) == "A, B, torch 2.9, at a load of 0.5 before"
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert describe_machine()["memory_gb"] == pytest.approx(pages / 1e9, abs=0.1)
    found = timing_numbers("m", {"a": Timing((1.0, 4.0, 2.0))})
    assert (found["model"], found["timings"]) == ("m", {"a": {"median": 2.0, "seconds": [1.0, 4.0, 2.0]}})
    assert "floor" not in found


def test_hugging_faces_peer_has_the_sizes_and_the_positions_of_the_model() -> None:
    model = make_mae(num_heads=4)
    model.mask_ratio, model.norm_pix = 0.5, False
    made: dict[str, Any] = {}
    batch = Batch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    engine = settings(autocast=torch.enable_grad)
    with pytest.MonkeyPatch.context() as patch:
        copied = peers._copy_positions
        patch.setattr(peers, "_copy_positions", lambda peer, tensors: (made.update(peer=peer), copied(peer, tensors)))
        step = peers.huggingface_step(model, engine, batch, lr=0.0)
        assert step is not None
        step()
    told = made["peer"].config.to_dict()
    expected = {
        "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 32,
        "layer_norm_eps": 1e-6, "image_size": 32, "patch_size": 8, "num_channels": 3, "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16,
        "mask_ratio": 0.5, "norm_pix_loss": False,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    state = made["peer"].state_dict()
    assert torch.equal(state["vit.embeddings.position_embeddings"], model.encoder.pos_embed)
    assert torch.equal(state["decoder.decoder_pos_embed"], model.decoder.pos_embed)
    others = (make_mae(num_cls_tokens=2), make_mae(image_size=[32, 48]), make_mae(image_size=[48, 32]))
    assert [peers.huggingface_step(other, engine, batch, lr=0.0) for other in others] == [None] * 3


def test_the_resident_set_is_told_in_units_of_1024_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATUS", "RESET"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    (tmp_path / "STATUS").write_text("VmPeak:\t    9000 kB\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n")
    with memory.PeakMemory(CPU) as peak:
        assert (tmp_path / "RESET").read_text() == "5"
    assert (peak.bytes, peak.added) == (2_048_000, None)
    (tmp_path / "STATUS").write_text("VmRSS:\t    1000 kB\n")
    assert memory._resident("VmHWM") is None
    (tmp_path / "STATUS").unlink()
    monkeypatch.setattr(memory, "RESET", tmp_path / "nowhere" / "RESET")
    with memory.PeakMemory(CPU) as peak:
        pass
    assert peak.bytes is None


def test_mmsegmentations_peer_has_the_form_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its constructor is told, whether it is installed or not; its answers are judged where it is."""
    given: list[dict[str, Any]] = []
    loaded: list[dict[str, torch.Tensor]] = []

    def made(**form: Any) -> Any:
        given.append(form)
        return SimpleNamespace(load_state_dict=loaded.append)

    monkeypatch.setitem(sys.modules, "mmengine.config", SimpleNamespace(ConfigDict=dict))
    monkeypatch.setitem(sys.modules, "mmseg.models.segmentors", SimpleNamespace(EncoderDecoder=made))
    monkeypatch.setattr(mmsegmentation, "import_mmsegmentation", lambda: True)
    sizes: dict[str, Any] = {"image_size": 40, "in_chans": 4}
    encoder = relative_encoder(**sizes, mlp_ratio=2.0, drop_path_rate=0.3)
    auxiliary = FCNHead(in_dim=24, channels=6, num_classes=5, dropout=0.2)
    model = upernet(**sizes, encoder=encoder, auxiliary=auxiliary)
    assert mmsegmentation.segmentor(model) is not None
    norm, head = {"type": "BN", "requires_grad": True}, {"num_classes": 5, "align_corners": False, "in_index": 2}
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": False}
    assert given == [
        {
            "backbone": {
                "type": "MAE", "img_size": 40, "patch_size": 8, "in_channels": 4, "embed_dims": 24, "num_layers": 4,
                "num_heads": 3, "mlp_ratio": 2, "out_indices": [0, 1, 2, 3], "init_values": 1.0, "norm_eval": False,
                "norm_cfg": {"type": "LN", "eps": 1e-6}, "drop_path_rate": 0.3,
            },
            "neck": {"type": "Feature2Pyramid", "embed_dim": 24, "rescales": [4, 2, 1, 0.5], "norm_cfg": norm},
            "decode_head": head | {
                "type": "UPerHead", "in_channels": [24] * 4, "in_index": [0, 1, 2, 3], "pool_scales": (1, 2, 3, 6),
                "channels": 12, "dropout_ratio": 0.1, "norm_cfg": norm, "loss_decode": loss | {"loss_weight": 1.0},
            },
            "auxiliary_head": head | {
                "type": "FCNHead", "in_channels": 24, "num_convs": 1, "concat_input": False, "channels": 6,
                "dropout_ratio": 0.2, "norm_cfg": norm, "loss_decode": loss | {"loss_weight": 0.4},
            },
            "test_cfg": {"mode": "slide", "crop_size": (40, 40), "stride": (26, 26)},
        }
    ]  # fmt: skip
    weights = UPERNET.from_native(model.state_dict())
    assert loaded[0].keys() == weights.keys()
    assert all(torch.equal(loaded[0][name], value) for name, value in weights.items())
    parts = {"encoder": encoder, "head": model.head, "auxiliary": auxiliary}
    others = [
        {"encoder": None}, {"head": None}, {"auxiliary": None}, {"encoder": relative_encoder(image_size=(32, 48))},
        {"encoder": relative_encoder(layer_scale=None)}, {"encoder": relative_encoder(relative_position_bias=False)},
    ]  # fmt: skip
    assert [mmsegmentation.segmentor(SimpleNamespace(**parts | other)) for other in others] == [None] * 6
    encoder.blocks[-1].drop_path = torch.nn.Identity()
    mmsegmentation.segmentor(model)
    assert [form["backbone"]["drop_path_rate"] for form in given] == [0.3, 0.0]
    monkeypatch.setattr(mmsegmentation, "import_mmsegmentation", lambda: None)
    assert mmsegmentation.segmentor(model) is None


def test_the_plain_loops_of_a_picture_have_the_windows_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = torch.nn.Linear(1, 1)
    model: Any = SimpleNamespace(encoder=SimpleNamespace(image_size=(60, 60)))
    picture = torch.zeros(3, 90, 60)

    def loops(method: Any) -> dict[str, Any]:
        return pictures._loops(method, model, picture, settings())

    windows = {"crop": 60, "stride": 40, "short": 60}
    several = MultiscaleFlip.__new__(MultiscaleFlip)
    several.ratios, several.flip = [0.5, 1.0], False
    [(name, call)] = loops(several).items()
    assert (name, call.keywords) == ("window at a time", windows | {"ratios": [0.5, 1.0], "flip": False})
    assert loops(Whole.__new__(Whole)) == {}
    for found, names in ((None, ["window at a time"]), (peer, ["window at a time", "mmsegmentation"])):
        monkeypatch.setattr(pictures, "segmentor", lambda model, found=found: found)
        made = loops(Slide.__new__(Slide))
        assert list(made) == names
        assert made["window at a time"].keywords == windows
    assert made["mmsegmentation"].args[-1] == 60


def test_the_results_row_has_each_number_in_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    data = SimpleNamespace(validation=[SimpleNamespace(image=number) for number in range(9)])
    method = SimpleNamespace(predict=lambda model, images: seen.extend(images))
    config = SimpleNamespace(name="mine", data=data, inference=method)
    model = SimpleNamespace(encoder=SimpleNamespace(image_size=(32, 48)), parameters=list)
    engine = settings(autocast=torch.enable_grad)
    engine.settled = lambda parameters: engine
    words: list[Any] = []
    monkeypatch.setattr(pictures, "_configured", lambda path, given: (words.append(given), (config, None, engine))[1])
    monkeypatch.setattr(pictures, "_training_peak", lambda *_: (7_250_000_000, 2))
    monkeypatch.setattr(pictures, "_segmenter", lambda *_: model)
    monkeypatch.setattr(pictures, "build", lambda node, key: node)

    def evaluated(path: str, given: list[str], out: None) -> dict[str, float]:
        words.append(given)
        return {"mIoU": {"inference=slide": 41.256, "inference=multiscale_flip": 43.5}[given[-1]]}

    def alternate(calls: Any, rounds: int, **_: Any) -> dict[str, Timing]:
        for _ in range(rounds):
            calls["picture"]()
        return {"picture": Timing((0.25, 0.25, 1.5))}

    monkeypatch.setattr(pictures, "evaluate", evaluated)
    monkeypatch.setattr(pictures, "alternate", alternate)
    found = pictures.results_row("run", ["data.root=x"], images=3)
    assert words == [
        ["data.root=x", name] for name in ("inference=slide", "inference=slide", "inference=multiscale_flip")
    ]
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7]  # five that do not count, then three
    assert cells(found.table) == [["mine", "32x48", "7.25", "1.50", "41.26", "43.50"]]
    numbers = {name: found.numbers[name] for name in ("fps", "mIoU", "mIoU(ms+flip)", "training_images")}
    assert numbers == {"fps": 1.5, "mIoU": 41.256, "mIoU(ms+flip)": 43.5, "training_images": 2}
    assert found.numbers["training_peak_memory_bytes"] == 7_250_000_000
    assert "training at 2 images; fps over 3 pictures, 250 ms median, 1375 ms 95 %" in str(found.table.caption)


def test_a_benchmark_of_pictures_refuses_what_segments_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "composed", lambda words: SimpleNamespace(task="pretrain", name="mine"))
    with pytest.raises(UserError, match="this benchmark takes a UPerNet, got mine"):
        pictures._configured(None, [])


def test_a_step_stands_beside_the_peers_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plain_mae_step", "huggingface_step", "plain_upernet_step", "mmsegmentation_step"):
        monkeypatch.setattr(verbs, name, lambda *_, name=name, **more: None if name == "mmsegmentation_step" else name)
    nothing: Any = None
    assert verbs._peers(make_mae(), nothing, nothing) == {
        "plain timm": "plain_mae_step", "Hugging Face ViTMAE": "huggingface_step",
    }  # fmt: skip
    assert verbs._peers(torch.nn.Linear(1, 1), nothing, nothing) == {}


def test_a_step_is_measured_by_its_images_its_floor_and_its_share_of_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    batch = Batch(torch.zeros(4, 3, 2, 2))

    class Work:
        accumulate, settings = 3, settings()

        def __call__(self) -> None:
            calls.append("ours")

    config = SimpleNamespace(name="mine", engine=SimpleNamespace(apply=lambda: calls.append("applied")))
    config.engine.torch_device = CPU
    medians = {"mae_hydra": 0.5, "peer": 2.0}
    for what, stub in {
        "composed": lambda words: config, "build": lambda node, key: node,
        "training_step": lambda config, settings: (Work(), "model", batch), "training_flops": lambda model, batch: 1e9,
        "_peers": lambda model, settings, batch: {"peer": lambda: calls.append("peer")},
        "matrix_floor": lambda flops, settings: Floor("products", flops / 1.2e11),
        "alternate": lambda calls, **_: {name: Timing((medians[name],)) for name in calls},
        "peak_tflops": lambda device, precision: 0.048 if precision == "fp32" else None,
        "_taken": lambda call, device: {"ours": 10**9}.get(call() or calls[-1]),
    }.items():  # fmt: skip
        monkeypatch.setattr(verbs, what, stub)
    found = verbs.step(["a=1"], 5)
    assert calls[0] == "applied"
    assert [row[:5] for row in cells(found.table)] == [
        ["mae_hydra", "0.500", "0.500", "24.00", "1.00"], ["peer", "2.000", "2.000", "6.00", "4.00"],
        ["lower bound: products", "0.100", "", "120.00", "0.20"],
    ]  # fmt: skip
    told = {name: found.numbers[name] for name in ("images", "precision", "taken_bytes", "model")}
    assert told == {
        "images": 12, "precision": "fp32", "taken_bytes": {"mae_hydra": 10**9, "peer": None}, "model": "mine",
    }  # fmt: skip
    assert found.numbers["mfu"] == {"mae_hydra": pytest.approx(0.5), "peer": pytest.approx(0.125)}
    assert "MFU mae_hydra 50.0 %, peer 12.5 %" in str(found.table.caption)
    assert "kept, GB" in [str(column.header) for column in found.table.columns]
    assert list(verbs.step([], 5, alone=True).numbers["timings"]) == ["mae_hydra"]


def test_what_a_step_takes_is_that_of_its_second_call() -> None:
    sizes = [torch.zeros(100, requires_grad=True), torch.zeros(3, requires_grad=True)]
    kept = verbs._taken(lambda: sizes.pop(0).exp().sum().backward(), CPU)
    assert kept == 3 * 4
    assert sizes == []


def test_a_picture_is_measured_beside_loops_that_agree_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = settings(autocast=torch.enable_grad)
    engine.settled = lambda parameters: engine
    words: list[Any] = []
    ours = torch.tensor([[0, 1], [2, 3]])
    shown: set[Any] = set()

    def predict(model: Any, images: list[torch.Tensor]) -> list[torch.Tensor]:
        shown.add(tuple(images[0].shape))
        return [ours]

    method = SimpleNamespace(predict=predict, check=lambda model, size: words.append(size))
    config = SimpleNamespace(name="mine", inference=SimpleNamespace(shortcuts=["a", "b"]))
    model = SimpleNamespace(encoder=SimpleNamespace(in_chans=5), parameters=list)
    for what, stub in {
        "_configured": lambda path, given: (words.append(given), (config, None, engine))[1],
        "_segmenter": lambda *_: model, "build": lambda node, key: method,
        "_loops": lambda *_: {pictures.PLAIN: lambda: torch.tensor([[0, 1], [2, 0]])},
        "_floor_of": lambda call, settings: Floor("products", 0.1), "_without": lambda config, name: method,
        "alternate": lambda calls, **_: {name: Timing((0.5,)) for name in calls},
    }.items():  # fmt: skip
        monkeypatch.setattr(pictures, what, stub)
    found = pictures.inference(None, ["a=1"], (6, 8), 3, alone=False, shares=True)
    assert words == [["a=1", "inference=slide"], (6, 8)]
    assert list(found.numbers["timings"]) == ["SimpleNamespace", pictures.PLAIN, "without a", "without b"]
    assert (found.numbers["size"], found.numbers["agreeing_pixels"]) == ([6, 8], 0.75)
    assert str(found.table.columns[-1].header) == "equal classes, %"
    assert list(found.table.columns[-1].cells) == ["", "75.0000", "", "", ""]
    assert found.numbers["equal_classes"] == {pictures.PLAIN: 0.75}
    alone = pictures.inference("run", ["inference=whole"], (6, 8), 3, alone=True, shares=False)
    assert words[2] == ["inference=whole"]
    assert shown == {(5, 6, 8)}
    assert (list(alone.numbers["timings"]), alone.numbers["agreeing_pixels"]) == (["SimpleNamespace"], None)
