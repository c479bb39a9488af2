"""`mae-hydra export`: one file that gives what the model gives, without this program."""

import argparse
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.workflows import export as module

ONNX = ("onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in ONNX if importlib.util.find_spec(name) is None]
onnx = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} of the extra `export` not installed")
DOC = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, trained_upernet: Path, trained_mae: Path) -> Path:
    """A folder with a trained UPerNet and a trained masked autoencoder."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(trained_upernet, root / "upernet")
    shutil.copytree(trained_mae, root / "mae")
    return root


@pytest.fixture(scope="module")
def pt2(runs: Path) -> Path:
    """The UPerNet as a program of torch's, exported as in the document."""
    assert main(["export", str(runs / "upernet"), str(runs / "shared.pt2")]) == 0
    return runs / "shared.pt2"


@pytest.fixture(scope="module")
def onnx_file(runs: Path) -> Path:
    assert main(["export", str(runs / "upernet"), str(runs / "shared.onnx")]) == 0
    return runs / "shared.onnx"


def opened(file: Path) -> tuple[Any, dict[str, Any]]:
    """A program of torch's, and what it says of itself."""
    extra = {"metadata.json": ""}
    program = torch.export.load(file, extra_files=extra).module()
    return program, json.loads(extra["metadata.json"])


def pictures(count: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, 64, 64), dtype=np.uint8))


def exported(run: Path, out: Path, *words: str) -> tuple[Any, dict[str, Any]]:
    """The program that the command wrote, and what it says of itself."""
    assert main(["export", str(run), str(out), *words]) == 0
    return opened(out)


@pytest.mark.slow
def test_the_program_gives_the_logits_of_the_model_at_any_batch_size(runs, pt2):
    program, told = opened(pt2)
    model = mae_hydra.load(runs / "upernet")
    with torch.no_grad():
        for count in (1, 2, 5):
            expected, found = model(pictures(count)), program(pictures(count))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            assert torch.equal(found.argmax(1), expected.argmax(1))
    assert told["class_names"][:2] == ["sky", "cloud"]
    assert len(told["palette"]) == 12
    assert told["mean"] == [0.493, 0.484, 0.469]
    assert told["image_size"] == [64, 64]
    assert "uint8" in told["input"]


@pytest.mark.slow
def test_labels_are_the_most_likely_classes_and_the_auxiliary_head_stays_behind(runs, tmp_path):
    program, _ = exported(runs / "upernet", tmp_path / "model.pt2", "--output", "labels")
    labels = program(pictures(3))
    assert labels.dtype == torch.uint8
    with torch.no_grad():
        assert torch.equal(labels.long(), mae_hydra.load(runs / "upernet")(pictures(3)).argmax(1))
    assert not [name for name in program.state_dict() if "auxiliary" in name]


SIZES = ["backbone.embed_dim=32", "backbone.depth=2", "backbone.num_heads=2", "backbone.out_indices=[1]"]
WITH_HEADS = {
    "segprobe": ["model=segprobe_vitt", *SIZES],
    "fcn": ["model=segprobe_vitt", "head=fcn", "head.channels=8", *SIZES],
    "classifier": ["model=classifier_vitt", *SIZES],
    "probe": ["model=probe_vitt", *SIZES],
}


def untrained(path: Path, *words: str) -> Path:
    """A checkpoint as a run writes it, of random weights and statistics."""
    config = compose_config(words)
    model = build(config.model, "model")
    for name, values in model.state_dict().items():
        if name.endswith("running_mean"):
            values.normal_()
    torch.save({"model": model.state_dict(), "config": OmegaConf.to_container(config, resolve=True)}, path)
    return path


@pytest.mark.parametrize(
    ("name", "output"), [("segprobe", "logits"), ("fcn", "labels"), ("classifier", "labels"), ("probe", "logits")]
)
def test_every_model_with_a_head_is_exported_with_it(tmp_path, name, output):
    """Tokens of the encoder were written instead, and said to be all there is."""
    file = untrained(tmp_path / "model.pt", *WITH_HEADS[name])
    words = [] if output == "logits" else ["--output", "labels"]  # logits unless something else is asked for
    program, told = exported(file, tmp_path / "model.pt2", *words)
    model = mae_hydra.load(file)
    with torch.no_grad():
        logits = model(pictures(3))
        found = program(pictures(3))
    assert told["output"] == output
    assert len(told["class_names"]) == model.num_classes == logits.shape[1]
    if output == "logits":
        torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
    else:
        assert found.dtype == (torch.uint8 if logits.ndim == 4 else torch.int64)
        assert torch.equal(found.long(), logits.argmax(1))


@onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["segprobe", "classifier"])
def test_models_with_other_heads_run_in_onnx(tmp_path, name):
    file = untrained(tmp_path / "model.pt", *WITH_HEADS[name])
    assert main(["export", str(file), str(tmp_path / "model.onnx"), "--check"]) == 0


@pytest.mark.parametrize("verb", ["export", "convert"])
def test_set_adds_up(verb):
    """Of two `--set` the first was dropped without a word."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"mae_hydra.commands.{verb}").arguments(parser)
    words = ["x.pt", "y.pt2", "--set", "a=1", "b=2", "--set", "c=3"]
    assert parser.parse_args(words).set == ["a=1", "b=2", "c=3"]
    assert parser.parse_args(words[:2]).set == []


def test_floats_are_taken_as_normalised_and_a_fixed_batch_refuses_another(runs, tmp_path):
    words = ["--input", "float", "--batch", "2", "--output", "maps", "--check"]
    program, told = exported(runs / "mae", tmp_path / "model.pt2", *words)
    model = mae_hydra.load(runs / "mae")
    images = model.prepare(pictures(2))
    with torch.no_grad():
        [expected] = model.encoder.feature_maps(images)
        torch.testing.assert_close(program(images)[0], expected, atol=1e-5, rtol=1e-5)
        with pytest.raises(AssertionError, match="Guard failed"):
            program(images[:1])
    assert "float32" in told["input"]
    assert "(2, 3, 64, 64)" in told["input"]


def test_tokens_are_those_of_all_patches_and_the_decoder_stays_behind(runs, tmp_path):
    program, told = exported(runs / "mae", tmp_path / "model.pt2")
    model = mae_hydra.load(runs / "mae")
    with torch.no_grad():
        expected = model.encoder.tokens(model.prepare(pictures(3)))
        torch.testing.assert_close(program(pictures(3)), expected, atol=1e-5, rtol=1e-5)
    assert expected.shape[1] == 1 + 64
    assert not [name for name in program.state_dict() if "decoder" in name]
    assert "class_names" not in told


def reference(model: Any, images: torch.Tensor, output: str) -> torch.Tensor:
    if output in ("logits", "labels"):
        logits = model(images)
        return logits if output == "logits" else logits.argmax(1).to(torch.uint8)
    images = model.prepare(images)
    return model.encoder.tokens(images) if output == "tokens" else model.encoder.feature_maps(images)[0]


@pytest.mark.slow
@onnx
@pytest.mark.parametrize(
    ("run", "output"),
    [("mae", "tokens"), ("upernet", "labels"), ("mae", "maps")],
)
def test_onnx_gives_what_the_model_gives(runs, tmp_path, capsys, run, output):
    out = tmp_path / "model.onnx"
    assert main(["export", str(runs / run), str(out), "--output", output, "--check"]) == 0
    assert "differs from the model by at most" in capsys.readouterr().out
    assert_onnx_is_the_model(out, runs / run, output)


@onnx
@pytest.mark.slow
def test_onnx_gives_the_logits_by_default(runs, onnx_file):
    assert_onnx_is_the_model(onnx_file, runs / "upernet", "logits")


def assert_onnx_is_the_model(out: Path, run: Path, output: str) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(out)
    model = mae_hydra.load(run)
    with torch.no_grad():
        for count in (1, 4):
            images = pictures(count)
            expected = reference(model, images, output)
            [found] = session.run(None, {"images": images.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["image_size"]) == [64, 64]
    assert told["output"] == output
    assert session.get_inputs()[0].shape == ["batch", 3, 64, 64]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "number"), [("pt2", 1), pytest.param("onnx_file", 2, marks=onnx)])
def test_the_examples_of_the_document_run(request, tmp_path, file, number):
    exported = request.getfixturevalue(file)
    ending = exported.suffix[1:]
    shutil.copy(exported, tmp_path / f"model.{ending}")
    blocks = [
        block for block in re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL) if f"model.{ending}" in block
    ]
    assert len(blocks) == number
    code = "\n".join([*blocks, "import sys", "assert 'mae_hydra' not in sys.modules"])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_program_that_differs_is_refused_by_the_check(runs, tmp_path, monkeypatch, capsys):
    def slightly_off(path):
        program = torch.export.load(path).module()
        return lambda images: [program(images) * 1.001]

    monkeypatch.setattr(module, "_torch_runner", slightly_off)
    assert main(["export", str(runs / "mae"), str(tmp_path / "model.pt2"), "--check"]) == 1
    assert "tokens differ from the model's by" in capsys.readouterr().err


@pytest.mark.slow
def test_an_export_that_fails_leaves_the_old_file_and_no_other(runs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "model.pt2"
    out.write_text("precious")

    def full(program, file, extra_files):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.export, "save", full)
    assert main(["export", str(runs / "mae"), str(out), "--overwrite"]) == 1
    assert f"error: cannot write {out}: No space left on device; make room" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]


@pytest.mark.slow
def test_an_encoder_alone_has_no_normalisation_and_takes_floats(runs, tmp_path, capsys):
    encoder = tmp_path / "encoder.safetensors"
    assert main(["convert", str(runs / "mae"), str(encoder), "--to", "timm"]) == 0
    heads = ["--set", "backbone.num_heads=2"]
    assert main(["export", str(encoder), str(tmp_path / "model.pt2"), *heads]) == 1
    assert "export with --input float" in capsys.readouterr().err
    program, told = exported(encoder, tmp_path / "model.pt2", "--input", "float", *heads)
    model = mae_hydra.load(runs / "mae")
    images = model.prepare(pictures(3))
    with torch.no_grad():
        torch.testing.assert_close(program(images), model.encoder.tokens(images), atol=1e-5, rtol=1e-5)
    assert "mean" not in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["mae", "a.pt2", "--output", "labels"],
            "holds a masked autoencoder, which has no labels; --output can be tokens",
        ),
        (["upernet", "a.pt2", "--output", "tokens"], "holds a UPerNet, which has no tokens"),
        (["upernet", "a.bin"], "neither in .onnx nor in .pt2"),
        (["upernet", "a.pt2", "--batch", "many"], "--batch must be dynamic or a positive number, got many"),
        (["upernet", "there.pt2"], "there.pt2 is there already"),
        (["upernet", "nowhere/a.pt2"], "no folder nowhere"),
        (["gone", "a.pt2"], "gone"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(runs, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    Path("there.pt2").touch()
    assert main(["export", str(runs / words[0]), *words[1:]]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert sentence in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt2"]


def test_missing_packages_are_named_with_the_way_out(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["export", str(runs / "upernet"), str(tmp_path / "a.onnx"), "--check"]) == 1
    assert "pip install 'mae-hydra[export]'" in capsys.readouterr().err


class Halves(torch.nn.Module):
    """As rotary positions are: a table, of which the halves are used."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.rand(4, 6))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        one, other = self.table.chunk(2, 1)
        return images * one + other


@onnx
@pytest.mark.slow
def test_the_exporter_prints_no_line_for_each_table_of_positions(tmp_path, caplog):
    program = torch.export.export(Halves(), (torch.rand(4, 3),))
    module._write_onnx(program, tmp_path / "model.onnx", {}, ["logits"])
    assert (tmp_path / "model.onnx").is_file()
    assert "constant folding" not in caplog.text
