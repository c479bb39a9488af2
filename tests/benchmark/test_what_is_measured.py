"""What a benchmark computes, on what, and beside whom: each candidate is what its name says."""

import io
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from checkpoint_files import make_mae, make_patch_segmenter
from omegaconf import OmegaConf
from PIL import Image
from test_strange_files import MODEL
from tiny_models import upernet

from mae_hydra.benchmark import (
    Part,
    count_parts,
    describe_machine,
    estimate,
    loading,
    loading_processes,
    memory,
    mmsegmentation,
    peers,
    pictures,
    rates,
    verbs,
)
from mae_hydra.benchmark.estimate import Activations, activations_of_a_step, example_batch
from mae_hydra.benchmark.photos import Files, photo_files
from mae_hydra.benchmark.timing import Timing, alternate
from mae_hydra.benchmark.workloads import TrainingStep, noise_batch
from mae_hydra.data.augment.encoded import Unread
from mae_hydra.data.decoding.decode import decode_image
from mae_hydra.engine import Settings
from mae_hydra.seeds import seed_device
from mae_hydra.types import Batch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def model_of(kind: str | None, **more: Any) -> Any:
    """Something that answers, of four channels and 6x8 pixels."""
    return SimpleNamespace(answers=kind, encoder=SimpleNamespace(in_chans=4, image_size=(6, 8)), **more)


def test_an_example_is_of_the_size_the_channels_and_the_labels_of_its_model() -> None:
    found = [example_batch(model_of(kind, num_classes=3), 2) for kind in ("pixels", "images", "reconstruction")]
    assert [tuple(batch.images.shape) for batch in found] == [(2, 4, 6, 8)] * 3
    labels = [None if batch.labels is None else (tuple(batch.labels.shape), batch.labels.dtype) for batch in found]
    assert labels == [((2, 6, 8), torch.uint8), ((2,), torch.int64), None]
    assert not any(batch.images.any() or (batch.labels is not None and batch.labels.any()) for batch in found)
    given = example_batch(model_of("pixels"), 3, (10, 4))
    assert (tuple(given.images.shape), tuple(given.labels.shape)) == ((3, 4, 10, 4), (3, 10, 4))
    anything = SimpleNamespace(answers="images", encoder=SimpleNamespace(in_chans=1))
    assert tuple(example_batch(anything, 1).images.shape) == (1, 1, 224, 224)
    noise = [example_batch(model_of("pixels", num_classes=3), 8, (32, 32), noise=True) for _ in range(2)]
    for batch in [*noise, noise_batch((32, 32), 4, 8, 3)]:
        assert batch.labels is not None
        assert (batch.images.unique().tolist(), batch.labels.unique().tolist()) == (list(range(256)), [0, 1, 2])
    assert torch.equal(noise[0].images, noise[1].images)
    assert noise_batch((2, 3), 4, 5, 0).labels is None


class Blocks(torch.nn.Module):
    """Two blocks over 6 numbers of an image, that stand where a model's encoder is."""

    answers, image_size = "pixels", (4, 4)
    encoder = SimpleNamespace(in_chans=3, image_size=(4, 4))

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Tanh()) for _ in "ab")

    def loss(self, batch: Batch) -> torch.Tensor:
        values = torch.ones(len(batch), 6)
        for block in self.blocks:
            values = block(values)
        return values.sum()

    def features(self, batch: Batch) -> list[torch.Tensor]:
        return [torch.zeros(len(batch), 3), torch.zeros(len(batch), 2)]


def test_memory_of_a_step_depends_on_its_precision_and_on_what_is_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The input of either layer and what either tanh gives: of the first input a cast to two bytes, of the rest 2 bytes.
    full, half = (estimate.activations(Blocks(), precision) for precision in ("fp32", "bf16"))
    assert full == Activations(3 * 6 * 4, 0)
    assert half.per_image == 3 * 6 * 2
    assert half.fixed == 6 * 6 * 2  # the second layer's weights, cast
    assert estimate.activations(Blocks(), "fp16") == half
    asked: list[Any] = []

    def told(model: Any, precision: str, **more: Any) -> Activations:
        asked.append((precision, more))
        return Activations(100, 7)

    monkeypatch.setattr(estimate, "activations", told)
    monkeypatch.setattr(estimate, "_kept", lambda model, precision, images, recompute: 5 + 60 * images)
    for recompute in (False, True):
        activations_of_a_step(Blocks(), "bf16", 2, recompute=recompute)
    assert asked == [("bf16", {"recompute": False}), ("bf16", {"recompute": True})]


def test_of_a_step_neither_its_parameters_nor_views_of_them_count_as_kept() -> None:
    layer, values = torch.nn.Linear(10, 20), torch.randn(5, 10, requires_grad=True)
    assert memory.kept_bytes(lambda: layer(values).sum().backward()) == 4 * 5 * 10  # of the product its input


def test_every_form_of_loading_is_measured_with_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    stored: list[Any] = []
    threads: list[int] = []

    class Shrunk:
        def __init__(self, files: Files, short: int, channels: int, decoded: bool) -> None:
            self.told = (len(files), short, channels, decoded)

        def stored(self, index: int) -> Any:
            stored.append((index, *self.told))
            return SimpleNamespace(encoded=b"small")

    def timed(calls: dict[str, Any], **more: Any) -> dict[str, Timing]:
        threads.append(torch.get_num_threads())
        made.update(calls)
        return {name: Timing((1.0,)) for name in calls}

    monkeypatch.setattr(loading, "Shrunk", Shrunk)
    monkeypatch.setattr(loading, "_ours", lambda files, **how: (files, how))
    monkeypatch.setattr(loading, "alternate", timed)
    monkeypatch.setattr(loading, "photo_files", lambda size, count: [b"x" * 2000, b"y" * 5500])
    monkeypatch.setattr(loading, "describe_machine", lambda: {"threads": 7})
    monkeypatch.setattr(loading, "in_words", lambda machine: f"{machine['threads']} threads")
    for name in ("decoding_table", "processes_table"):
        monkeypatch.setattr(loading, name, lambda files, rounds, *more: (rounds, {"rounds": rounds, "more": more}))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    captions = []
    for decoder in (None, "there"):
        monkeypatch.setattr(loading, "region_decoder", lambda decoder=decoder: decoder)
        found = loading.loading((60, 80), images=2, rounds=1)
        captions.append(str(found.table.caption))
    torch.set_num_threads(before)
    files, small = [b"x" * 2000, b"y" * 5500], [b"small"] * 2
    assert {name: call for name, call in made.items() if name not in ("", loading.PLAIN)} == {
        "mae_hydra (decode=reduced)": (files, {"decode": "reduced"}), "decode=crop": (files, {"decode": "crop"}),
        "decode=whole": (files, {"decode": "whole"}),
        "crops_per_image=4": (files, {"decode": "whole", "crops_per_image": 4}),
        "shards --short 256 --decoded": (small, {}),
    }  # fmt: skip
    assert stored[:2] == [(0, 2, 256, 3, True), (1, 2, 256, 3, True)]
    assert threads == [1] * 4
    assert str(found.table.title) == "loading: 224x224 crops of 60x80 JPEGs of 4 kB, one core"
    assert captions[1] == "1 threads; one round"
    assert captions[0].startswith(f"{captions[1]}; without TurboJPEG")
    numbers = {name: found.numbers[name] for name in ("bytes", "processes", "decoding")}
    assert numbers == {
        "bytes": 3750, "decoding": {"rounds": 1, "more": ()},
        "processes": {"rounds": 1, "more": (224, {"scale": (0.2, 1.0), "ratio": (3 / 4, 4 / 3)})},
    }  # fmt: skip


def test_pictures_of_one_color_are_normalized_as_imagenets_by_others() -> None:
    crops = loading_processes._Crops(lambda file: decode_image(file, 3, "a"), 8, {"scale": (0.5, 1.0)})
    white = flat_file(255)
    expected = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]).view(3, 1, 1)
    crops.files = [flat_file(0), white]
    torch.testing.assert_close(loading._plain([white])[0], expected.expand(3, 224, 224), rtol=0, atol=1e-4)
    torch.testing.assert_close(crops[3], expected.expand(3, 8, 8), rtol=0, atol=1e-4)  # the files in turns
    assert crops[2].max() < -1.5


def flat_file(value: int) -> bytes:
    """Encode a picture of one gray."""
    file = io.BytesIO()
    Image.new("RGB", (24, 16), (value,) * 3).save(file, "PNG")
    return file.getvalue()


def test_processes_are_given_all_photos_and_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[Any] = []

    class Stream:
        def __init__(self, files: Files, augment: Any, **more: Any) -> None:
            streams.append((files, augment, more))

        def batches(self, start: int) -> Any:
            return iter(())

    monkeypatch.setattr(loading_processes, "TrainStream", Stream)
    monkeypatch.setattr(loading_processes, "DataLoader", lambda crops, **more: [(crops.files, more)])
    loading_processes._ours([b"a", b"b", b"c"], 8, loading.CROP, 2)
    [(files, augment, more)] = streams
    assert [files.stored(index).encoded for index in range(len(files))] == ([b"a", b"b", b"c"] * 6)[:16]
    assert (augment.size, more["num_workers"], more["global_batch"], more["micro_batch"]) == ((8, 8), 2, 16, 16)
    loading_processes._ours([b"a"] * 20, 8, loading.CROP, 2)
    assert len(streams[1][0]) == 20
    monkeypatch.setattr(loading, "TrainStream", Stream)
    monkeypatch.setattr(Stream, "batches", lambda stream, start: iter([start]))
    assert loading._ours([b"a", b"b", b"c"], decode="crop", crops_per_image=2)() == 0
    files, augment, more = streams[2]
    assert (len(files), augment.size, more["num_workers"], more["global_batch"]) == (3, (224, 224), 0, 3)
    assert (augment.decode, augment.crops_per_image) == ("crop", 2)
    crops: Any = SimpleNamespace()
    assert list(loading_processes._theirs([b"a"], crops, 3)) == [([b"a"], {"batch_size": 16, "num_workers": 3})]
    turns = iter([0.5, 0.25, 2.0])
    monkeypatch.setattr(loading_processes, "decoders", dict)
    monkeypatch.setattr(loading_processes, "_seconds", lambda made, number: next(turns))
    numbers = loading_processes.processes_table([b"a"], 3, 8, loading.CROP, (1,))[1]
    assert numbers == {"mae_hydra (decode=reduced)": {"1": 32.0}}  # by the median


def test_made_photos_are_as_large_as_photos_are_and_each_is_itself() -> None:
    [photo] = photo_files((375, 500), 1)
    assert 60e3 < len(photo) < 80e3
    red, green, _ = decode_image(photo, 3, "a").double()
    assert (red - green).diff(dim=1).std() > 6  # the grain is of each color
    two = Files(photo_files((24, 32), 2))
    for index in range(2):
        assert two.stored(index).encoded == two._encoded[index]
        assert torch.equal(two[index].image, decode_image(two._encoded[index], 3, "a"))
        read: Any = two.undecoded(index)
        assert torch.equal(read.image.decoded() if isinstance(read, Unread) else read.image, two[index].image)


def test_parts_count_what_lies_in_them_and_the_total_what_lies_beside_them_too() -> None:
    class Inner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 5), torch.nn.Sequential(torch.nn.Linear(5, 2, bias=False))

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = Inner(), torch.nn.Linear(2, 3)
            self.own = torch.nn.Parameter(torch.zeros(3, 7))
            self.last.weight.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.inner.encode(x)) @ self.own

    assert count_parts(Outer(), torch.zeros(10, 4)) == [
        ("inner", 35, 2 * 10 * (4 * 5 + 5 * 2)), ("last", 9, 2 * 10 * 2 * 3),
        ("total", 65, 2 * 10 * (4 * 5 + 5 * 2 + 2 * 3 + 3 * 7)),
    ]  # fmt: skip


def test_on_an_accelerator_the_peak_starts_anew_and_every_call_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    peak = {"peak": 900}
    for name, call in {
        "reset_peak_memory_stats": lambda device: peak.update(peak=0), "memory_allocated": lambda device: 300,
        "max_memory_allocated": lambda device: max(peak["peak"], 700),
        "synchronize": lambda device: calls.append("wait"),
        "device_count": lambda: 2, "get_device_name": "card {}".format,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, call)
    with memory.PeakMemory(CUDA) as found:
        assert (found.bytes, found.added) == (None, None)
    assert (found.bytes, found.added) == (700, 400)
    assert verbs._taken(lambda: peak.update(peak=1500), CUDA) == 1500 - 300
    calls.clear()
    found_times = alternate({"a": lambda: calls.append("a")}, rounds=2, warmup=1, device=CUDA)
    assert calls == ["wait", "a", "wait"] * 3
    assert len(found_times["a"].seconds) == 2
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 3, 5})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    machine = describe_machine()
    assert (machine["cores"], machine["threads"], machine["accelerators"]) == (3, 6, ["card 0", "card 1"])


def test_a_floor_is_as_fast_as_products_in_the_precision_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(rates, "matrix_rate", lambda device, dtype: (asked.append((device, dtype)), 5e9)[1])
    for precision in ("fp32", "bf16", "fp16"):
        floor = rates.matrix_floor(2e10, SimpleNamespace(torch_device=CPU, resolved_precision=precision))  # type: ignore[arg-type]
        assert (floor.name, floor.seconds) == ("20 GFLOP at 5 GFLOP/s", 4.0)
    assert asked == [(CPU, torch.float32), (CPU, torch.bfloat16), (CPU, torch.float16)]


class Optimizer:
    """Notes what it is told and in which order it is called, and takes no step."""

    calls: ClassVar[list[Any]] = []

    def __init__(self, parameters: Any, **more: Any) -> None:
        self.parameters = list(parameters)
        self.calls.append((len(self.parameters), more))

    def zero_grad(self) -> None:
        self.calls.append("zero")

    def step(self) -> None:
        self.calls.append(all(p.grad is not None and p.grad.any() for p in self.parameters if p.requires_grad))


def test_others_learn_as_fast_as_they_are_told_from_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "AdamW", Optimizer)
    monkeypatch.setattr(Optimizer, "calls", [])
    engine: Any = SimpleNamespace(torch_device=CPU, autocast=torch.enable_grad)
    model, segmenter = make_mae(), upernet()
    batch = example_batch(segmenter, 2, noise=True)
    plain = peers.plain_mae_step(model, engine, Batch(batch.images), lr=0.5)
    assert plain is not None
    plain()
    of_mae = sum(1 for _ in model.parameters())
    assert Optimizer.calls == [(of_mae, {"lr": 0.5, "betas": (0.9, 0.95), "weight_decay": 0.05}), "zero", True]
    model.masking = "block"
    assert peers.plain_mae_step(model, engine, Batch(batch.images), lr=0.5) is None
    Optimizer.calls.clear()
    written_out: list[Any] = []
    attention = peers._attention_written_out
    monkeypatch.setattr(
        peers, "_attention_written_out", lambda layer, *given: (written_out.append(layer), attention(layer, *given))[1]
    )
    peers.plain_upernet_step(segmenter, engine, batch, lr=0.25)()
    assert len(written_out) == len(segmenter.encoder.blocks)
    assert not any(layer is block.attn for layer in written_out for block in segmenter.encoder.blocks)
    decayed = (sum(1 for _ in segmenter.parameters()), {"lr": 0.25, "weight_decay": 0.05})
    assert Optimizer.calls == [decayed, "zero", True]
    assert segmenter.head.low_resolution_first is True  # ours stays as it is
    assert not any(parameter.grad is not None for parameter in segmenter.parameters())
    Optimizer.calls.clear()
    monkeypatch.setattr(mmsegmentation, "segmentor", lambda model: Peer())
    monkeypatch.setattr(mmsegmentation, "samples_of", lambda labels: labels)
    theirs = mmsegmentation.mmsegmentation_step(segmenter, engine, batch, lr=0.125)
    assert theirs is not None
    theirs()
    assert Optimizer.calls == [(2, {"lr": 0.125, "weight_decay": 0.05}), "zero", True]
    monkeypatch.setattr(mmsegmentation, "segmentor", lambda model: None)
    assert mmsegmentation.mmsegmentation_step(segmenter, engine, batch, lr=0.125) is None


class Peer(torch.nn.Conv2d):
    """Stands for mmsegmentation's model: is given normalized images and the labels."""

    def __init__(self) -> None:
        super().__init__(3, 1, 32)
        self.eval()

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert self.training
        assert images.min() < 0
        assert labels.shape == images[:, 0].shape
        return self(images)

    def parse_losses(self, losses: torch.Tensor) -> tuple[torch.Tensor, None]:
        return losses.sum(), None


def test_the_floor_of_a_picture_is_the_products_that_are_really_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "matrix_floor", lambda flops, settings: (flops, settings))
    left, right = torch.ones(4, 5), torch.ones(5, 6)
    assert pictures._floor_of(lambda: (left @ right, right.T @ left.T), "engine") == (2 * 2 * 4 * 5 * 6, "engine")  # type: ignore[arg-type, comparison-overlap]


def test_a_step_is_of_its_seed_its_precision_and_its_parts() -> None:
    torch_sgd = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}
    config = OmegaConf.create({"seed": 7, "model": MODEL, "optimizer": torch_sgd, "data": {"batch_size": 4}})
    settings = Settings(
        device="cpu", precision="auto", devices=1, parallel="ddp", global_batch=12, clip_grad=None, nonfinite_limit=5,
        ema_decay=None, compile=False, recompute=False, log_every=4, profile_steps=None, deterministic=False,
    )  # fmt: skip
    work, model, batch = verbs.training_step(config, settings)
    seed_device(7, "init")
    for expected, found in zip(make_mae().parameters(), model.parameters(), strict=True):
        assert torch.equal(expected, found)
    assert (work.accumulate, len(batch), model.training) == (3, 4, True)  # twelve images in three parts of four
    assert (work.settings.precision, batch.labels) == ("fp32", None)
    assert batch.images.unique().tolist() == list(range(256))
    before = model.decoder.pred.weight.clone()
    work()
    assert not torch.equal(model.decoder.pred.weight, before)


def test_a_training_step_takes_all_parts_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def train_step(state: Any, forward: Any, batches: Any, accumulate: int, settings: Any) -> None:
        taken.append((state.scaler, forward, [next(batches) for _ in range(accumulate)], settings))

    monkeypatch.setattr("mae_hydra.benchmark.workloads.wrap", lambda model, settings: "wrapped")
    monkeypatch.setattr("mae_hydra.benchmark.workloads.train_step", train_step)
    engine: Any = SimpleNamespace(torch_device=CPU, scaler=lambda: "scaler")
    layer, batch = torch.nn.Linear(1, 1), Batch(torch.zeros(1, 1, 1, 1))
    TrainingStep(layer, torch.optim.SGD(layer.parameters(), lr=0.1), engine, batch, 3)()
    [(scaler, forward, batches, settings)] = taken
    assert (scaler, forward, len(batches), settings) == ("scaler", "wrapped", 3, engine)
    assert all(torch.equal(each.images, batch.images) for each in batches)


def test_peers_of_a_segmentation_model_are_of_that_very_form(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for name in ("plain_upernet_step", "mmsegmentation_step"):
        monkeypatch.setattr(verbs, name, lambda *given, name=name, **more: asked.append((name, *given, more)) or name)
    engine, batch, model = object(), object(), upernet()
    names = {"plain UPerNet": "plain_upernet_step", "mmsegmentation": "mmsegmentation_step"}
    assert verbs._peers(model, engine, batch) == names  # type: ignore[arg-type]
    assert asked == [(name, model, engine, batch, {"lr": 1e-4}) for name in names.values()]
    parts = {"answers": "pixels", "encoder": model.encoder, "head": model.head, "pyramid": model.pyramid}
    whole = parts | {"criterion": model.criterion}
    others = [{"criterion": None}, {"pyramid": None}, {"head": make_patch_segmenter().head}, {"encoder": None}]
    nothing: Any = None
    assert verbs._peers(SimpleNamespace(**whole), nothing, nothing) == names
    assert [verbs._peers(SimpleNamespace(**whole | other), nothing, nothing) for other in others] == [{}] * 4


def test_parts_of_a_model_are_those_of_one_of_its_images_as_it_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    layer: Any = torch.nn.Identity()
    layer.in_chans, layer.image_size = 4, (6, 8)

    def counted(model: Any, image: torch.Tensor) -> list[Any]:
        seen.append((model.training, tuple(image.shape), image.device.type))
        return [Part("one", 1_500_000, 2_500_000_000)]

    monkeypatch.setattr(verbs, "composed", lambda words: SimpleNamespace(name="mine", model="model"))
    monkeypatch.setattr(verbs, "build", lambda node, key: layer)
    monkeypatch.setattr(verbs, "count_parts", counted)
    found = verbs.parts([])
    assert seen == [(False, (1, 4, 6, 8), "meta")]
    assert [list(column.cells) for column in found.table.columns] == [["one"], ["1.500"], ["2.50"]]
    assert found.numbers == {
        "model": "mine", "parts": [{"name": "one", "parameters": 1_500_000, "flops": 2_500_000_000}],
    }  # fmt: skip


def test_pictures_are_cut_as_a_person_says_or_by_a_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    class Done(Exception):
        pass

    def configured(path: str | None, words: list[str]) -> Any:
        raise Done(path, words)

    monkeypatch.setattr(pictures, "_configured", configured)
    slide = "inference=slide"
    for path, words, expected in (
        (None, [], [slide]), ("run", ["seed=1"], ["seed=1", slide]), ("run", ["inference=whole"], ["inference=whole"]),
        (None, ["inference.short=9"], ["inference.short=9", slide]),
    ):  # fmt: skip
        with pytest.raises(Done) as asked:
            pictures.inference(path, words, (6, 8), 1, alone=True, shares=False)
        assert asked.value.args == (path, expected)


def test_a_benchmark_of_pictures_takes_the_best_weights_and_the_settings_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    engine = SimpleNamespace(apply=lambda: told.append("applied"), torch_device=CPU)
    config: Any = SimpleNamespace(task="segment", name="mine", engine=engine, seed=7, model="model")
    layers = {"fresh": torch.nn.Linear(1, 1), "kept": torch.nn.Linear(1, 1)}
    for what, stub in {
        "read_checkpoint": lambda path, **more: ("checkpoint", path, more),
        "recorded": lambda *given: (told.append(given), SimpleNamespace(config=config))[1],
        "composed": lambda words: (told.append(words), config)[1],
        "build": lambda node, key: engine if key == "engine" else layers["fresh"],
        "seed_device": lambda seed, what: told.append((seed, what)),
        "entry": SimpleNamespace(model_from=lambda checkpoint: layers["kept"]),
    }.items():  # fmt: skip
        monkeypatch.setattr(pictures, what, stub)
    best = ("checkpoint", "run", {"prefer": "best", "download": True})
    assert pictures._configured("run", ["a=1"]) == (config, best, engine)
    assert pictures._configured(None, ["a=1"]) == (config, None, engine)
    parts = ("data", "inference", "evaluation", "engine")
    assert told == [(best, ["a=1"], parts), "applied", ["a=1"], "applied"]
    told.clear()
    assert pictures._segmenter(config, None, engine) is layers["fresh"]  # type: ignore[arg-type]
    assert (layers["fresh"].training, told) == (False, [(7, "init")])
    assert pictures._segmenter(config, best, engine) is layers["kept"]  # type: ignore[arg-type]


def test_without_a_shortcut_means_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    config = OmegaConf.create({"inference": {"shortcuts": ["a", "b", "c"]}})
    monkeypatch.setattr(pictures, "build", lambda node, key: (key, list(node.shortcuts)))
    assert [pictures._without(config, name) for name in "abc"] == [
        ("inference", ["b", "c"]), ("inference", ["a", "c"]), ("inference", ["a", "b"]),
    ]  # fmt: skip
    assert list(config.inference.shortcuts) == ["a", "b", "c"]


def test_the_peak_of_training_is_that_of_two_steps_of_a_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    made = (lambda: calls.append("step"), None, [0, 0, 0])
    monkeypatch.setattr(pictures, "training_step", lambda config, settings: made)
    engine: Any = SimpleNamespace(torch_device=CPU)
    assert pictures._training_peak(SimpleNamespace(data=SimpleNamespace(batch_size=8)), engine)[1] == 3  # type: ignore[arg-type]
    assert calls == ["step"] * 2
