"""What is published of a model, and what its card says: the record for everybody, row by row."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from checkpoint_files import make_mae
from test_strange_files import MODEL

from mae_hydra.errors import UserError
from mae_hydra.experiment.provenance import sha256_of
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.workflows import publish
from mae_hydra.workflows.model_card import Facts, Scores, card, is_edited, scores_of
from mae_hydra.workflows.publish import CARD, CONFIG, WEIGHTS, _checked, _config, _for_everybody, _what, _words

META: dict[str, Any] = {
    "config": {
        "name": "mine_one", "seed": 3, "logger": {"wandb": {"entity": "me"}}, "group": "g", "resume": "never",
        "data": {"_target_": "mae_hydra.data.ade20k", "root": "/home/me/ADE", "lists": ["/a/b.txt", ["/c/d.txt"]],
                 "reduce_zero_label": False, "ignore_index": 255, "values": None},
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.0, "betas": [0.9, 0.95], "x": None,
                      "long": "y" * 60, "short": "y" * 59, "more": {"a": 1}},
        "engine": {"global_batch": 16},
    },
    "step": 40, "ignored": ["a.B"],
    "origin": {
        "seed": 3, "command": "secret", "data": {"train": {"images": 7}, "validation": {"images": 5}},
        "git": {"commit": "abc", "dirty": True, "remote": "git@host:me"},
        "environment": {"packages": {"torch": "2.9", "timm": "1.0"}, "choices": {"data": "ade20k"},
                        "variables": {"HOME": "/home/me"}, "host": "box"},
        "parent": {"path": "/home/me/mae.pth", "sha256": "123", "name": ""},
    },
}  # fmt: skip
PUBLIC: dict[str, Any] = _for_everybody(META)


def test_of_a_record_everybody_gets_what_is_of_use_and_no_place() -> None:
    config = META["config"]
    expected = {
        "config": {
            **config, "logger": {}, "group": None, "resume": "auto",
            "data": {**config["data"], "root": "ADE", "lists": ["b.txt", ["d.txt"]]},
        },
        "step": 40,
        "origin": {
            "seed": 3, "data": META["origin"]["data"], "git": {"commit": "abc", "dirty": True},
            "environment": {"packages": {"torch": "2.9", "timm": "1.0"}, "choices": {"data": "ade20k"}},
            "parent": {"path": "mae.pth", "sha256": "123", "name": ""},
        },
    }  # fmt: skip
    assert _for_everybody(META) == expected
    assert _for_everybody({"config": {}, "origin": {}})["origin"] == {
        "seed": None, "data": None, "git": {"commit": None, "dirty": None}, "parent": None,
        "environment": {"packages": {}, "choices": {}},
    }  # fmt: skip


def lines(
    meta: dict[str, Any] = PUBLIC, words: tuple[str, ...] = (), scores: tuple[Scores, ...] = (), **more: Any
) -> str:
    config = {"pipeline_tag": "image-segmentation", "model_type": "mae_hydra_segmentation", "num_channels": 3} | more
    return card(Facts("a UPerNet", meta, config, words, scores))


def test_a_card_has_each_fact_in_its_row() -> None:
    said = lines(
        words=("model=upernet_vitb", "notes=a b"),
        scores=(Scores("one", {"mIoU": 41.23456}), Scores("other|way", {"a_b": 0.5, "c": 12345.6})),
        image_size=(32, 48), image_mean=[0.5, 0.25], image_std=[1.0, 0.2], id2label={"0": "sky", "1": "a|b"},
    ).splitlines()  # fmt: skip
    assert said[:12] == [
        "---", "library_name: mae_hydra", "pipeline_tag: image-segmentation", "license: other", "tags:", "- mae_hydra",
        "- masked-autoencoder", "- mae_hydra_segmentation", "---", "", r"# mine\_one", "",
    ]  # fmt: skip
    assert "A UPerNet." in said
    assert "Images are uint8 (B, 3, H, W), trained at 32x48 pixels." in said
    assert "The model itself divides them by 255 and normalizes: mean 0.5, 0.25; standard deviation 1, 0.2." in said
    assert "python train.py model=upernet_vitb 'notes=a b'" in said
    short = "y" * 59
    assert [line for line in said if line.startswith("| ") and line != "| | |"] == [
        "| set | ade20k; ADE |", "| train images | 7 |", "| validation images | 5 |",
        r"| labels: reduce\_zero\_label | false |", r"| labels: ignore\_index | 255 |", r"| classes | sky, a\|b |",
        rf"| optimizer | AdamW; lr 0.0, betas \[0.9, 0.95\], short {short} |",
        "| images a step | 16 |", "| steps of these weights | 40 |", "| seed | 3 |",
        "| began from | mae.pth (sha256 123) |", "| packages | torch 2.9, timm 1.0 |", "| commit | abc |",
        "| mIoU | 41.23 |", r"| a\_b | 0.5 |", "| c | 1.235e+04 |",
    ]  # fmt: skip
    assert [line for line in said if line.startswith("By ")] == ["By one:", r"By other\|way:"]
    bare = lines({"config": {}})
    assert "None is on record of these weights." in bare
    assert "| began from | random initialization |" in bare
    assert "## Data" not in bare
    for count, more in ((40, False), (41, True)):
        names = {str(number): f"n{number}" for number in range(count)}
        [row] = [line for line in lines(id2label=names).splitlines() if line.startswith("| classes |")]
        tail = f", … ({count} in all, see config.json)" if more else ""
        assert row == f"| classes | {', '.join(f'n{number}' for number in range(40))}{tail} |"
    record = {"data": {"_target_": "a.b", "root": "", "values": 0}, "seed": 0, "loss": {"_target_": "x.Dice", "w": 0},
              "schedule": {"total": 3}}  # fmt: skip
    named = {"path": "a.pth", "name": "hf-hub:a/b", "sha256": "1"}
    assert "| set | b |" in lines({"config": record}).splitlines()
    few = lines({"config": record, "step": 0, "origin": {"data": {"train": {"images": 0}}, "parent": named}},
                ("a=`x`",), (Scores("<script>", {"a": 0.123456}),))  # fmt: skip
    assert "# model" in few.splitlines()
    assert "python train.py 'a='x''" in few
    assert "By &lt;script>:" in few
    assert [line for line in few.splitlines() if line.startswith("| ") and line != "| | |"] == [
        "| set | b |", "| train images | 0 |", "| labels: values | 0 |",
        "| schedule | total 3 |", "| loss | Dice; w 0 |", "| steps of these weights | 0 |", "| seed | 0 |",
        "| began from | hf-hub:a/b (sha256 1) |", "| a | 0.1235 |",
    ]  # fmt: skip


def test_a_card_is_known_again_until_somebody_edits_it(tmp_path: Path) -> None:
    file = tmp_path / CARD
    assert not is_edited(file)
    file.write_text(lines())
    assert not is_edited(file)
    file.write_text(lines().replace("license: other", "license: mit"))
    assert is_edited(file)
    file.write_text(lines() + "more\n")
    assert is_edited(file)


def test_scores_are_of_the_same_weights_and_of_evaluations_alone(tmp_path: Path) -> None:
    weights = tmp_path / "checkpoints/best.pt"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    row = {"step": 4, "train/loss": 1.0, "perf/images": 9.0, "val/mIoU": 30.0, "lr": 0.1, "val/none": None}
    rows = [row | {"step": 2, "val/mIoU": 20.0, "val/old": 1.0}, row]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "results.json").write_text(json.dumps({"val/mIoU": 99.0}))  # what the lines tell counts before
    for name, digest in (("a", sha256_of(weights)), ("b", "0" * 64), ("c", sha256_of(weights))):
        (tmp_path / "evaluations" / name).mkdir(parents=True)
        data = {"_target_": f"mae_hydra.data.{name}"}
        (tmp_path / f"evaluations/{name}/more").mkdir()
        protocol = {"sha256": digest, "inference": {"_target_": "mae_hydra.inference.Slide"}, "data": data}
        told = {"mIoU": 40.0, "images": 5, "folder": "x", "protocol": protocol}
        for place in (name, f"{name}/more"):  # a folder of one of several evaluators is none of its own
            (tmp_path / f"evaluations/{place}/results.json").write_text(json.dumps(told))
    (tmp_path / "evaluations/d").mkdir()
    bare = {"protocol": {"sha256": sha256_of(weights)}, "images": 5}
    (tmp_path / "evaluations/d/results.json").write_text(json.dumps(bare))
    checkpoint: Any = SimpleNamespace(path=weights, meta={"step": 4})
    assert scores_of(checkpoint) == [
        Scores("the training's own evaluation, at step 4", {"val/mIoU": 30.0}),
        Scores("mae-hydra evaluate, a, Slide, 5 images", {"mIoU": 40.0}),
        Scores("mae-hydra evaluate, c, Slide, 5 images", {"mIoU": 40.0}),
    ]
    checkpoint.path = tmp_path / "best.pt"  # a file of no run
    assert scores_of(checkpoint) == []


def test_the_words_are_those_of_the_run_or_of_its_recorded_command(tmp_path: Path) -> None:
    def of(place: str, command: Any) -> list[str]:
        checkpoint: Any = SimpleNamespace(path=tmp_path / place, meta={"origin": {"environment": {"command": command}}})
        return list(_words(checkpoint))

    command = ["python", "train.py", "train", "seed=1", 3, "a=\x1b[2Jb"]
    assert of("checkpoints/best.pt", command) == ["seed=1", "a=b"] == of("elsewhere/best.pt", command)
    (tmp_path / "overrides.yaml").write_text(yaml.safe_dump(["seed=2"]))
    assert (of("checkpoints/best.pt", command), of("elsewhere/best.pt", "text")) == (["seed=2"], [])
    (tmp_path / "overrides.yaml").write_text(yaml.safe_dump(["seed=2", 3]))
    assert of("checkpoints/best.pt", command) == []


def test_a_folder_is_published_in_where_nothing_of_others_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; give a folder to publish in"):
        _checked(tmp_path / "file")
    for name in ("notes.txt", WEIGHTS):
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        (folder / name).touch()
        with pytest.raises(UserError, match=name):
            _checked(folder)
    (tmp_path / "clone/.git").mkdir(parents=True)
    owned = _checked(tmp_path / "clone")
    owned.claim(tmp_path / "clone" / WEIGHTS).touch()
    (tmp_path / "clone/notes.txt").touch()  # beside what was published before
    _checked(tmp_path / "clone")
    for name in (CONFIG, CARD):  # which somebody has written there since
        (tmp_path / "clone" / name).touch()
        with pytest.raises(UserError, match=rf"{name} is there, and it was not mae-hydra publish that wrote it"):
            _checked(tmp_path / "clone")
        (tmp_path / "clone" / name).unlink()
        owned.claim(tmp_path / "clone" / name).touch()
        _checked(tmp_path / "clone")
    assert publish.COMMAND == "publish"
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="may not be written to; give another folder"):
        _checked(tmp_path / "new")


def test_what_is_published_is_the_whole_model_with_its_public_record_its_digest_and_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["python", "train.py", "data.root=/home/me/ADE", "seed=3"]
    meta = {"config": {"model": MODEL, "name": "tiny", "notes": "mine"}, "step": 0, "ignored": ["a.B"],
            "origin": {"environment": {"command": command}}}  # fmt: skip
    saved, folder, read = Checkpoint(dict(make_mae().state_dict()), meta, "mae_hydra", Path("a.pt")), tmp_path / "b", []
    given = {"run": saved}
    monkeypatch.setattr(publish, "read_checkpoint", lambda run, prefer: read.append((run, prefer)) or given[run])
    name, broken = "encoder.norm.weight", torch.full((16,), torch.nan)
    few = {key: value for key, value in saved.tensors.items() if key != name}
    for tensors, said in ((saved.tensors | {name: broken}, "NaN or infinite"), (few, f"it lacks {name}")):
        given["wrong"] = Checkpoint(tensors, meta, "mae_hydra", Path("a.pt"))
        with pytest.raises(UserError, match=said):
            publish.publish("wrong", folder)
        assert not any(folder.glob("[!.]*"))
    for prefer in ("best", "last"):
        found = publish.publish("run", folder, prefer)  # type: ignore[arg-type]
        assert found == publish.Published(folder, (folder / WEIGHTS).stat().st_size, False)
    assert read == [("wrong", "best")] * 2 + [("run", "best"), ("run", "last")]
    written = read_checkpoint(folder)
    assert all(torch.equal(written.tensors[key], value) for key, value in saved.tensors.items())
    assert {key: written.meta["config"][key] for key in ("model", "name", "notes")} == meta["config"] | {"notes": None}
    assert "ignored" not in written.meta
    config = json.loads((folder / CONFIG).read_text())
    assert {key: value for key, value in config.items() if not key.startswith(("mae_hydra_v", "parameters"))} == {
        "library_name": "mae_hydra", "model_type": "mae_hydra_mae", "architectures": ["MAE"],
        "pipeline_tag": "image-feature-extraction", "image_size": [32, 32], "num_channels": 3,
        "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "step": 0, "model": MODEL,
        "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
        "sha256": sha256_of(folder / WEIGHTS),
    }  # fmt: skip
    card = (folder / CARD).read_text()
    assert "python train.py data.root=ADE seed=3\n" in card
    assert f", {config['parameters'] / 1e6:.1f} M parameters." in card
    # As this version reads what another one has recorded; and nobody has edited the card.
    monkeypatch.setattr(publish, "model_configuration", lambda checkpoint: (meta["config"] | {"name": "read"}, []))
    publish.publish("run", folder)
    assert read_checkpoint(folder).meta["config"]["name"] == "read"
    assert "# read" in (folder / CARD).read_text()


def test_a_model_of_others_is_told_by_its_class_its_encoder_and_its_size() -> None:
    checkpoint: Any = SimpleNamespace(kind="other")
    model: Any = SimpleNamespace(answers=None, parameters=list, in_chans=3)
    for encoder, on in (({"model_name": "resnet50", "_target_": "a.B"}, " on resnet50"), ({"_target_": "a.B"}, " on B"),
                        ({}, "")):  # fmt: skip
        told = {"parameters": 1_560_000, "model": {"encoder": encoder}}
        assert _what(checkpoint, model, told) == f"a SimpleNamespace{on}, 1.6 M parameters"
    meta = {"config": {"model": {"std": [0.5]}}, "class_names": ["sky"], "step": 0}
    found = _config(checkpoint, model, meta)
    assert {key: found[key] for key in found.keys() - {"mae_hydra_version"}} == {
        "library_name": "mae_hydra", "model_type": "mae_hydra_other", "architectures": ["SimpleNamespace"],
        "pipeline_tag": "image-feature-extraction", "num_channels": 3, "parameters": 0, "rescale_factor": 1 / 255,
        "image_std": [0.5], "step": 0, "model": {"std": [0.5]},
    }  # fmt: skip
    meta["palette"] = [[1, 2, 3]]
    for answer, tag in (("images", "image-classification"), ("pixels", "image-segmentation")):
        model.answers = answer
        told = _config(checkpoint, model, meta)
        expected = {"pipeline_tag": tag, "num_labels": 1, "id2label": {"0": "sky"}, "label2id": {"sky": 0}}
        assert {key: told[key] for key in told if told[key] != found.get(key)} == expected | {"palette": [[1, 2, 3]]}
