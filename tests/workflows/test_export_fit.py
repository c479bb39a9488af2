"""What an export can hold is said before anything is traced."""

import importlib.util
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.errors import UserError
from mae_hydra.workflows import export
from mae_hydra.workflows.export import CLASSES, Exported, Options, _check_fit, _difference

LABELS = Options(form="torch", output="labels", input="uint8", batch=None)


def model(num_classes: int, kind: str = "pixels") -> Any:
    weights = {"w": torch.zeros(10, dtype=torch.float32)}
    return SimpleNamespace(num_classes=num_classes, answers=kind, mean=0, state_dict=lambda: weights)


def test_class_maps_hold_as_many_classes_as_a_byte() -> None:
    possible = ("logits", "labels", "maps")
    _check_fit(Path("run"), model(256), possible, "labels", LABELS)
    with pytest.raises(UserError, match="class maps are of 8 bits, and run has 257 classes; use --output logits"):
        _check_fit(Path("run"), model(257), possible, "labels", LABELS)
    _check_fit(Path("run"), model(1000, "images"), possible, "labels", LABELS)
    _check_fit(Path("run"), model(257), possible, "logits", LABELS)
    assert "labels" in CLASSES


def test_a_model_beyond_what_onnx_holds_is_refused_for_onnx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert export.MOST_BYTES == 2**31  # a protocol buffer ends there
    onnx = Options(form="onnx", output="logits", input="uint8", batch=None)
    for most, refused in ((40, False), (39, True)):  # ten numbers of four bytes
        monkeypatch.setattr(export, "MOST_BYTES", most)
        _check_fit(Path("run"), model(2), ("logits",), "logits", LABELS)
        if refused:
            with pytest.raises(UserError, match="an ONNX file holds at most 2 GB"):
                _check_fit(Path("run"), model(2), ("logits",), "logits", onnx)
        else:
            _check_fit(Path("run"), model(2), ("logits",), "logits", onnx)


@pytest.mark.parametrize(
    ("missing", "words", "said"),
    [
        ("onnx", (), "this needs onnx; pip install 'mae-hydra[export]'"),
        ("onnxscript", (), "this needs onnxscript; pip install"),
        ("onnxruntime", ("--check",), "this needs onnxruntime; pip install"),
        ("onnxruntime", (), "no-such-file.pt"),  # which alone compares
    ],
)
def test_each_package_that_onnx_needs_is_named_before_any_work(
    missing: str, words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == missing else name)
    assert main(["export", "no-such-file.pt", str(tmp_path / "a.onnx"), *words]) == 1
    assert said in capsys.readouterr().err


def test_the_runner_names_what_it_lacks_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    with pytest.raises(UserError, match="this needs onnxruntime"):
        export._onnx_runner(Path("a.onnx"))


def test_a_difference_is_a_share_of_the_largest_value_or_of_the_pixels() -> None:
    ours, theirs = torch.tensor([1.0, -8.0]), torch.tensor([1.5, -8.0])
    assert _difference(ours, theirs) == 0.5 / 8
    assert _difference(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4])) == 0.25
    assert _difference(torch.zeros(2), torch.tensor([0.0, 1e-7])) == pytest.approx(1e-7)
    assert math.isnan(_difference(torch.tensor([1.0, math.nan]), torch.ones(2)))


def test_a_file_that_differs_from_its_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    function: Any = Exported.__new__(Exported)
    torch.nn.Module.__init__(function)
    function.output, function.image_shape = "logits", (3, 2, 2)
    function.forward = lambda images: images.float().mean((2, 3))
    for error, refused in ((9e-6, False), (1.1e-5, True)):

        def runner(out: Path, error: float = error) -> Any:
            return lambda images: [function.forward(images) * (1 + error)]

        monkeypatch.setattr(export, "_torch_runner", runner)
        if refused:
            with pytest.raises(UserError, match=r"its logits differ from the model's by 1\.1e-05 \(allowed: 1e-05\)"):
                export.compare(tmp_path / "a.pt2", function, LABELS)
        else:
            assert export.compare(tmp_path / "a.pt2", function, LABELS)["logits"] == pytest.approx(error, rel=0.05)


def test_the_largest_difference_of_all_batches_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    function: Any = Exported.__new__(Exported)
    torch.nn.Module.__init__(function)
    function.output, function.image_shape = "logits", (3, 2, 2)
    function.forward = lambda images: images.float().mean((2, 3))
    asked: list[int] = []
    for errors in (
        {1: 8e-6, 3: 2e-6},
        {1: 2e-6, 3: 8e-6},
        {1: 0.0, 3: math.nan},
        {1: math.nan, 3: 0.0},
    ):  # by the images of a batch

        def runner(out: Path, errors: dict[int, float] = errors) -> Any:
            return lambda images: [function.forward(images) * (1 + (asked.append(len(images)) or errors[len(images)]))]

        monkeypatch.setattr(export, "_torch_runner", runner)
        if math.nan not in errors.values():
            assert export.compare(tmp_path / "a.pt2", function, LABELS)["logits"] == pytest.approx(8e-6, rel=0.05)
        else:
            with pytest.raises(UserError, match=r"differ from the model's by nan"):
                export.compare(tmp_path / "a.pt2", function, LABELS)
    assert asked == [1, 3] * 4
    with pytest.raises(KeyError):  # a program of one size is tried at that size alone
        export.compare(tmp_path / "a.pt2", function, replace(LABELS, batch=2))
    assert asked[8:] == [2]


def test_of_labels_one_pixel_in_ten_thousand_may_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    function: Any = Exported.__new__(Exported)
    torch.nn.Module.__init__(function)
    function.output, function.image_shape = "labels", (1, 100, 100)
    function.forward = lambda images: torch.zeros(len(images), 100, 100, dtype=torch.uint8)
    for wrong, refused in ((1, False), (2, True)):
        theirs = torch.zeros(1, 100, 100, dtype=torch.uint8)
        theirs.flatten()[:wrong] = 1
        monkeypatch.setattr(export, "_torch_runner", lambda out, theirs=theirs: lambda images: [theirs])
        if refused:
            with pytest.raises(UserError, match=r"its labels differ from the model's by 2\.0e-04 \(allowed: 1e-04\)"):
                export.compare(tmp_path / "a.pt2", function, replace(LABELS, batch=1))
        else:
            assert export.compare(tmp_path / "a.pt2", function, replace(LABELS, batch=1)) == {"labels": 1e-4}
    assert export._output_names("maps", 2) == ["map_0", "map_1"]


def test_whoever_has_nothing_but_the_file_is_told_what_goes_in_and_what_comes_out() -> None:
    told: Any = SimpleNamespace(
        answers="pixels", num_classes=2, mean=torch.tensor([0.1234567, 0.2]), std=torch.tensor([0.5, 1.0]),
        encoder=SimpleNamespace(image_size=(32, 48), in_chans=2, patch_size=16),
    )  # fmt: skip
    meta = {"class_names": ["sky", "sea"], "palette": [[1, 2, 3], [4, 5, 6]]}
    found = export.describe(told, meta, "labels", LABELS)
    assert found.pop("program") == f"mae_hydra {mae_hydra.__version__}"
    assert found == {
        "input": "images: uint8, 0..255, normalized inside; (batch, 2, 32, 48), channels first", "output": "labels",
        "image_size": [32, 48], "patch_size": 16, "mean": [0.123457, 0.2], "std": [0.5, 1.0],
        "class_names": ["sky", "sea"], "palette": [[1, 2, 3], [4, 5, 6]],
    }  # fmt: skip
    told.encoder.in_chans = 3
    floats = export.describe(told, {}, "maps", Options("torch", "maps", "float", 4))
    assert floats["input"] == "images: float32, normalized already; (4, 3, 32, 48), RGB"
    assert "class_names" not in floats
    alone = SimpleNamespace(tokens=1, feature_maps=1, state_dict=dict)
    assert export._possible(alone) == ("tokens", "maps")
    with pytest.raises(UserError, match="run holds an encoder alone, without the mean"):
        _check_fit(Path("run"), alone, ("tokens",), "tokens", LABELS)
    _check_fit(Path("run"), alone, ("tokens",), "tokens", replace(LABELS, input="float"))
    with pytest.raises(
        UserError, match=r"run holds an encoder alone, which has no logits; --output can be tokens or m"
    ):
        _check_fit(Path("run"), alone, ("tokens", "maps"), "logits", LABELS)


def test_labels_are_bytes_for_maps_and_whole_numbers_for_pictures_and_a_palette_is_of_all_classes() -> None:
    for kind, dtype in (("pixels", torch.uint8), ("images", torch.int64)):
        told: Any = torch.nn.Module()
        told.num_classes, told.answers, told.mean, told.std = 3, kind, torch.zeros(3), torch.ones(3)
        told.forward = lambda images: images[:, :, :1, :1].flatten(1).float()
        found = Exported(told, "labels", with_normalisation=False)(torch.tensor([[[[1]], [[5]], [[2]]]]))
        assert (found.tolist(), found.dtype) == ([1], dtype)
        palettes = [[[0, 0, 0]] * count for count in (3, 4)]
        described = [export.describe(told, {"palette": palette}, "logits", LABELS) for palette in palettes]
        assert [facts.get("palette") for facts in described] == [palettes[0], None]
        assert described[0]["class_names"] == ["class 0", "class 1", "class 2"]


class Whole(torch.nn.Module):
    """A segmentation model of two classes with a part that training alone needs."""

    num_classes, answers, training_only = 2, "pixels", ("auxiliary",)

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary: Any = torch.nn.Linear(1, 1)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.tensor([0.5, 0.25, 0.0]))
        self.register_buffer("std", torch.tensor([1.0, 0.5, 0.25]))
        self.encoder = SimpleNamespace(
            image_size=(2, 2),
            in_chans=3,
            tokens=lambda images: images,
            feature_maps=lambda images: [images, images + 1],
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :2].float()


def test_an_export_is_of_the_best_weights_as_they_are_evaluated_and_tells_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []
    meta = {"class_names": ["sky", "sea"], "origin": {"data": {"range": [[5, 90]]}}}
    for name, stub in {
        "read_checkpoint": lambda path, **told: asked.append((path, told)) or SimpleNamespace(meta=meta),
        "trace": lambda function, options: asked.append(function.training) or ("program", function, options),
        "_names": lambda program, output: [output],
        "_write_onnx": lambda program, path, facts, names: path.write_text(json.dumps([facts["output"], names])),
    }.items():  # fmt: skip
        monkeypatch.setattr(export, name, stub)
    monkeypatch.setattr(export.entry, "model_from", lambda checkpoint, *words: asked.append(words) or Whole())
    saved: list[Any] = []
    monkeypatch.setattr(
        torch.export, "save",
        lambda program, file, extra_files: saved.append((program[0], json.loads(extra_files["metadata.json"]))),
    )  # fmt: skip
    options = Options("onnx", None, "uint8", None)
    function = export.export("run", tmp_path / "a.onnx", options, ("seed=1",))
    assert asked == [("run", {"prefer": "best", "download": True}), ("seed=1",), False]
    assert json.loads((tmp_path / "a.onnx").read_text()) == ["logits", ["logits"]]
    assert (function.output, function.mean, function.part.auxiliary) == ("logits", None, None)
    assert not any(parameter.requires_grad for parameter in function.parameters())
    pixels = torch.tensor([[[[0]], [[255]], [[51]]]], dtype=torch.uint8)
    for kind, expected in (("uint8", [-0.5, 1.5, 0.8]), ("float", [0.0, 255.0, 51.0])):
        maps = export.export("run", tmp_path / "a.pt2", Options("torch", "maps", kind, 4))
        given = pixels if kind == "uint8" else pixels.float()
        first, second = maps(given)
        assert first.flatten().tolist() == pytest.approx(expected)
        assert torch.equal(second, first + 1)
    [(program, facts), _] = saved
    assert (program, facts["output"], facts["range"]) == ("program", "maps", [[5.0, 90.0]])
    assert (facts["mean"], facts["std"]) == ([0.5, 0.25, 0.0], [1.0, 0.5, 0.25])
    with pytest.raises(UserError, match="run holds a UPerNet, which has no tokens; --output can be logits or labels"):
        export.export("run", tmp_path / "a.pt2", Options("torch", "tokens", "uint8", None))
    few = SimpleNamespace(answers=None, encoder=SimpleNamespace(feature_maps=1))
    assert export._possible(few) == ("maps",)


def test_a_program_is_of_any_number_of_images_or_of_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    function: Any = SimpleNamespace(image_shape=(3, 32, 48))
    traced: list[Any] = []
    monkeypatch.setattr(
        torch.export, "export", lambda function, example, dynamic_shapes: traced.append((example[0], dynamic_shapes))
    )
    for batch in (None, 5):
        export.trace(function, Options("onnx", None, "uint8", batch))
    (free, dims), (fixed, none) = traced
    assert (free.shape, fixed.shape, none) == ((2, 3, 32, 48), (5, 3, 32, 48), None)
    dim = dims["images"][0]
    assert (list(dims), list(dims["images"]), dim.min, dim.__name__) == (["images"], [0], 1, "batch")
    images = export.example_images(function, 4, "uint8")
    assert (images.dtype, int(images.min()), int(images.max())) == (torch.uint8, 0, 255)
    assert torch.equal(images, export.example_images(function, 4, "uint8"))
    floats = export.example_images(function, 4, "float")
    assert (abs(float(floats.mean())) < 0.1, abs(float(floats.std()) - 1) < 0.1) == (True, True)


def test_an_onnx_file_names_its_inputs_outputs_and_facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[Any] = []
    image = SimpleNamespace(shape=["s77", 3])
    made = SimpleNamespace(
        model=SimpleNamespace(graph=SimpleNamespace(inputs=[image]), metadata_props={}),
        rename_axes=done.append, save=lambda path: done.append(path),
    )  # fmt: skip
    monkeypatch.setattr(export, "need", lambda *names: done.append(names))
    monkeypatch.setattr(torch.onnx, "export", lambda program, **told: done.append((program, told)) or made)
    program: Any = "program"
    facts = {"output": "maps", "mean": [0.5], "class_names": ["sky"]}
    told = {"input_names": ["images"], "output_names": ["map_0"], "verbose": False}
    for first, renamed in (("s77", [{"s77": "batch"}]), (4, [])):
        image.shape[0] = first
        export._write_onnx(program, tmp_path / "a.onnx", facts, ["map_0"])
        assert done == [("onnx", "onnxscript"), ("program", told), *renamed, tmp_path / "a.onnx"]
        assert made.model.metadata_props == {"output": "maps", "mean": "[0.5]", "class_names": '["sky"]'}
        done.clear()


def test_what_runs_a_file_gets_the_images_as_arrays_and_gives_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    class Session:
        def __init__(self, path: Path, providers: list[str]) -> None:
            opened.append((path, providers))

        def run(self, outputs: None, feed: dict[str, Any]) -> list[Any]:
            return [feed["images"] + 1, feed["images"] * 2]

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    monkeypatch.setattr(export, "need", lambda *names: opened.append(names))
    images = torch.tensor([[3, 4]])
    assert [part.tolist() for part in export._onnx_runner(Path("a.onnx"))(images)] == [[[4, 5]], [[6, 8]]]
    assert opened == [("onnxruntime",), (Path("a.onnx"), ["CPUExecutionProvider"])]
    for made, expected in ((images + 1, [[[4, 5]]]), ((images, images * 2), [[[3, 4]], [[6, 8]]])):
        loaded = SimpleNamespace(module=lambda made=made: lambda images: made)
        monkeypatch.setattr(torch.export, "load", lambda path, loaded=loaded: loaded)
        assert [part.tolist() for part in export._torch_runner(Path("a.pt2"))(images)] == expected
    program: Any = SimpleNamespace(graph_signature=SimpleNamespace(user_outputs=["x", "y"]))
    assert (export._names(program, "maps"), export._names(program, "labels")) == (["map_0", "map_1"], ["labels"])
