import json
import os
import pickle
import shutil

import pytest
import torch
from checkpoint_files import make_mae, make_upernet, official_names, write_run
from safetensors.torch import save_file

from mae_hydra.errors import UserError
from mae_hydra.weights import read_checkpoint, to_layout
from mae_hydra.weights.containers import _unwrapped


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_directory_gives_the_last_checkpoint_and_the_best_on_request(tmp_path):
    last, best = make_mae(), make_mae()
    write_run(tmp_path, last, "last", step=7)
    assert read_checkpoint(tmp_path, prefer="best").meta["step"] == 7  # there is no best yet
    write_run(tmp_path, best, "best", step=5)
    write_run(tmp_path / "alone", best, "best", step=5)
    assert read_checkpoint(tmp_path / "alone", prefer="last").meta["step"] == 5
    for path, prefer, model, step in (
        (tmp_path, "last", last, 7),
        (tmp_path, "best", best, 5),
        (str(tmp_path / "checkpoints"), "best", best, 5),
        (tmp_path / "checkpoints" / "last.pt", "best", last, 7),
    ):
        checkpoint = read_checkpoint(path, prefer=prefer)
        assert same(checkpoint.tensors, model.state_dict())
        assert checkpoint.meta["step"] == step


def test_a_run_tells_its_configuration_and_what_its_model_was_trained_on(tmp_path):
    checkpoint = read_checkpoint(write_run(tmp_path, make_upernet(), image_size=[32, 32]))
    assert checkpoint.meta["config"]["model"]["encoder"] == {"image_size": [32, 32]}
    assert checkpoint.meta["class_names"] == ["sky", "wall"]
    assert checkpoint.layout == "mae_hydra"
    assert checkpoint.kind == "segmentation"


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"model": state}, lambda state: {"state_dict": state}]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_official_names_are_recognised_by_content_in_every_container(tmp_path, wrap, zipped):
    model = make_mae()
    file = tmp_path / "any.name"
    torch.save(wrap(official_names(model)), file, _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(file)
    assert checkpoint.layout == "official MAE, encoder and decoder"
    assert (checkpoint.part, checkpoint.unused, checkpoint.remarks) == ("", (), ())
    assert same(checkpoint.tensors, model.state_dict())


def test_an_official_encoder_without_decoder_is_recognised(tmp_path):
    model = make_mae()
    torch.save({"model": model.encoder.state_dict()}, tmp_path / "encoder.pth")
    expected = {name: value for name, value in model.state_dict().items() if name.startswith("encoder.")}
    assert same(read_checkpoint(tmp_path / "encoder.pth").tensors, expected)


def test_safetensors_are_recognised_whatever_the_file_is_called(tmp_path):
    model = make_mae()
    save_file(model.state_dict(), tmp_path / "weights.pt", {"config": '{"seed": 3}', "format": "pt"})
    checkpoint = read_checkpoint(tmp_path / "weights.pt")
    assert same(checkpoint.tensors, model.state_dict())
    assert checkpoint.meta == {"config": {"seed": 3}}


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path, zipped):
    evidence, file = tmp_path / "executed", tmp_path / "hostile.pt"
    content = {"model": make_mae().state_dict(), "extra": Payload(evidence)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"would call \S*open when it is unpickled.*nothing in it was executed"):
        read_checkpoint(file)
    assert not evidence.exists()
    file.write_bytes(pickle.dumps(Payload(evidence)))
    with pytest.raises(UserError):
        read_checkpoint(file)
    assert not evidence.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_truncated_file_is_one_clear_sentence(tmp_path, share, kind):
    file = tmp_path / "cut"
    state = make_mae().state_dict()
    if kind == "torch":
        torch.save(state, file)
    else:
        save_file(state, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cut \(\d+ bytes\) is damaged or no checkpoint .*; download or copy it again"):
        read_checkpoint(file)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    cases = [
        (b"not a checkpoint at all", "is damaged or no checkpoint"),
        ([1, 2], "holds a list, not a dictionary of tensors"),
        ({}, "holds no tensors"),
        ({"model": {"step": 3}}, "holds no tensors"),
        (
            {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)},
            r"2 tensors \(conv1.weight, fc.bias, …\) in no known",
        ),
    ]
    for content, message in cases:
        file = tmp_path / "file.pt"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            torch.save(content, file)
        with pytest.raises(UserError, match=message):
            read_checkpoint(file)


def test_a_path_that_leads_nowhere_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*nowhere; give a checkpoint file or a run directory"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.pt"):
        read_checkpoint(tmp_path)


def test_a_folder_of_runs_is_answered_with_the_newest(tmp_path):
    runs = tmp_path / "more" / "mae_vitt"
    for age, name in enumerate(["b", "a", "c"]):
        file = runs / name / "checkpoints" / "last.pt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1000 - age, 1000 - age))
    (runs / "b/checkpoints/best.pt").touch()  # two files of one run
    for folder in (tmp_path, runs.parent, runs):
        with pytest.raises(UserError, match=r"folder of 3 runs, of which the newest is \S*/mae_vitt/b$"):
            read_checkpoint(folder)
    for name in ("a", "c"):
        shutil.rmtree(runs / name)
    with pytest.raises(UserError, match=r"; the run below it is \S*/mae_vitt/b$"):
        read_checkpoint(tmp_path)


def hugging_face_folder(folder, kind):
    """A folder as it is downloaded: whole or in two parts, in either container."""
    folder.mkdir()
    tensors = to_layout(make_mae().state_dict(), "huggingface").tensors
    (folder / "config.json").write_text('{"model_type": "vit_mae", "num_attention_heads": 2, "norm_pix_loss": true}')
    name = "model.safetensors" if "safetensors" in kind else "pytorch_model.bin"

    def write(part, file):
        save_file(part, file) if "safetensors" in kind else torch.save(part, file)

    if "parts" not in kind:
        write(tensors, folder / name)
        return tensors
    names = list(tensors)
    listed = {}
    for number, half in enumerate((names[:20], names[20:]), start=1):
        part = f"part-{number}-of-2"
        write({each: tensors[each] for each in half}, folder / part)
        listed |= dict.fromkeys(half, part)
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": listed}))
    return tensors


@pytest.mark.parametrize("kind", ["safetensors", "bin", "safetensors in parts", "bin in parts"])
def test_a_hugging_face_folder_is_read_with_what_its_config_tells(tmp_path, kind):
    hugging_face_folder(tmp_path / "hf", kind)
    checkpoint = read_checkpoint(tmp_path / "hf")
    assert same(checkpoint.tensors, make_mae().state_dict() | checkpoint.tensors)
    assert checkpoint.tensors.keys() == make_mae().state_dict().keys()
    assert checkpoint.meta["encoder"]["num_heads"] == 2
    assert checkpoint.meta["norm_pix"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "part-2-of-2").unlink(), "names part-2-of-2, which is not in"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret"}}'),
            r"names \.\./secret, which is not in",
        ),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{"), "is not the JSON that it should be"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{}"), "lists no parts"),
    ],
)
def test_an_incomplete_folder_is_one_sentence(tmp_path, change, message):
    hugging_face_folder(tmp_path / "hf", "safetensors in parts")
    change(tmp_path / "hf")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "hf")


def test_parts_are_checked_where_all_of_them_are(tmp_path):
    for unchecked in (None, 1, 2):
        folder = tmp_path / f"hf-{unchecked}"
        hugging_face_folder(folder, "bin in parts")
        assert read_checkpoint(folder).checked
        if unchecked:
            part = folder / f"part-{unchecked}-of-2"
            save_file(torch.load(part, weights_only=True), part)  # which has no checksums
            assert not read_checkpoint(folder).checked


def test_what_a_run_carries_counts_before_a_config_json_beside_it(tmp_path):
    run = write_run(tmp_path, make_mae())
    (run / "checkpoints" / "config.json").write_text('{"model_type": "vit_mae", "mask_ratio": 0.5}')
    assert "mask_ratio" not in read_checkpoint(run).meta


def test_prefixes_of_wrappers_are_taken_off(tmp_path):
    wrapped = {"module.a": 1, "_orig_mod.b": 2}
    assert _unwrapped(wrapped) == wrapped  # which is no prefix of all
    assert _unwrapped({"_orig_mod.module.a": 1, "_orig_mod.module.module.b": 2}) == {"a": 1, "module.b": 2}
    state = {f"module._orig_mod.{name}": value for name, value in make_mae().state_dict().items()}
    torch.save({"model": state}, tmp_path / "wrapped.pt")
    assert read_checkpoint(tmp_path / "wrapped.pt").tensors.keys() == make_mae().state_dict().keys()
