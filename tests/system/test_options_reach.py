"""What is typed behind a verb reaches what does the work, each option in its own place and none left out."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mae_hydra.commands import main
from mae_hydra.workflows.predict import Options, Outcome

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Calls]:
    """`watch(where, answer)` puts a note-taker in the place of a function; the calls it got."""

    def put(where: str, answer: Any = None) -> Calls:
        calls: Calls = []

        def noting(*told: Any, **named: Any) -> Any:
            calls.append((told, named))
            return answer

        module, _, name = where.rpartition(".")  # the factories of data have the names of their rooms
        monkeypatch.setattr(importlib.import_module(module), name, noting)
        return calls

    return put


def test_every_option_of_a_prediction(watch, tmp_path, capsys):
    out = tmp_path / "out"
    outcome = Outcome([out / "labels/a.png", out / "overlays/a.png"], [(Path("b.png"), "b.png is broken")], 3)
    calls = watch("mae_hydra.workflows.predict.predict", outcome)
    plain = ["predict", "run", "a.png", "b.png", "--out", str(out)]
    assert main(plain) == 1  # one could not be read
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"2 files written to {out / 'labels'}, {out / 'overlays'}", "3 pictures predicted before"
    ]  # fmt: skip
    assert said.err.splitlines() == ["error: b.png is broken", "1 picture could not be read"]
    assert calls.pop()[0] == ("run", ["a.png", "b.png"], Options(out=out))
    words = ["--inference", "multiscale_flip", "--probabilities", "--as-stored", "--batch", "4", "--limit", "9"]
    words += ["--mask-ratios", "0.25,0.5", "--seeds", "3,4", "--device", "cpu", "--precision", "bf16"]
    assert main([*plain, *words, "--range", "10,4000", "--overwrite"]) == 1
    expected = {
        "inference": "multiscale_flip", "probabilities": True, "as_stored": True, "batch": 4, "limit": 9,
        "mask_ratios": (0.25, 0.5), "seeds": (3, 4), "device": "cpu", "precision": "bf16", "range": (10.0, 4000.0),
        "overwrite": True,
    }  # fmt: skip
    assert calls.pop()[0][2] == Options(out=out, **expected)
    main([*plain, "--skip-existing"])
    assert calls.pop()[0][2] == Options(out=out, skip_existing=True)
    watch("mae_hydra.workflows.predict.predict", Outcome([out / "labels/a.png"], [], 0))
    assert main(plain) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"1 file written to {out / 'labels'}"


def test_every_option_of_an_evaluation(watch, tmp_path, capsys):
    found = {"folder": "found", "already_complete": True}
    calls = watch("mae_hydra.workflows.evaluate.evaluate", found)
    shown = watch("mae_hydra.workflows.evaluation_report.show")
    folder = ["--config-dir", str(tmp_path)]
    assert main(["evaluate", "run", "data=ade20k", "--out", "there", "--last", *folder, "inference=slide"]) == 0
    assert calls.pop()[0] == ("run", ["data=ade20k", "inference=slide"], Path("there"), "last", [tmp_path])
    assert shown.pop()[0] == (found, Path("found"))
    assert "already complete" in capsys.readouterr().out
    assert main(["evaluate", "run"]) == 0
    assert calls.pop()[0] == ("run", [], None, "best", [])


def test_every_option_of_a_conversion(watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = SimpleNamespace(meta={})
    read = watch("mae_hydra.weights.read_checkpoint", checkpoint)
    done = watch("mae_hydra.workflows.convert.convert", ["a line"])
    words = ["--to", "timm", "--set", "backbone.num_heads=6", "--set", "head.num_heads=2", "--last"]
    assert main(["convert", "in.pt", "out.pt", *words, "--norm-pix", "false"]) == 0
    assert read.pop() == (("in.pt",), {"prefer": "last", "download": True})
    assert done.pop()[0] == (checkpoint, Path("out.pt"), "timm", ["backbone.num_heads=6", "head.num_heads=2"])
    assert checkpoint.meta == {"norm_pix": False}
    assert main(["convert", "in.pt", "out.pt", "--norm-pix", "true"]) == 0
    assert read.pop()[1] == {"prefer": "best", "download": True}
    assert done.pop()[0][2:] == ("native", [])
    assert checkpoint.meta == {"norm_pix": True}


def test_every_option_of_an_export(watch, tmp_path, monkeypatch, capsys):
    from mae_hydra.workflows import export

    monkeypatch.chdir(tmp_path)
    function = object()
    out = Path("model.bin")

    def written(*told: Any) -> object:
        calls.append(told)
        out.write_bytes(b"\0" * 2**20)
        return function

    calls: list[Any] = []
    monkeypatch.setattr(export, "export", written)
    compared = watch("mae_hydra.workflows.export.compare", {"maps": 2e-7})
    watch("mae_hydra.workflows.export.need")
    words = ["--format", "onnx", "--output", "maps", "--input", "float", "--batch", "4", "--set", "a=1"]
    assert main(["export", "run", str(out), *words, "--check"]) == 0
    chosen = export.Options(form="onnx", output="maps", input="float", batch=4)
    assert calls.pop() == ("run", out, chosen, ("a=1",))
    assert compared.pop()[0] == (out, function, chosen)
    assert capsys.readouterr().out.splitlines() == [
        "wrote model.bin (1.0 MB)", "  maps: differs from the model by at most 2.0e-07 of its largest value"
    ]  # fmt: skip
    out.unlink()
    out = Path("model.pt2")
    assert main(["export", "run", str(out)]) == 0
    assert calls.pop()[2] == export.Options(form="torch", output=None, input="uint8", batch=None)
    assert compared == []


def test_every_option_of_scenes_that_are_written(watch, capsys):
    written = watch("mae_hydra.data.write_ade20k")
    words = ["--train", "3", "--validation", "2", "--seed", "5", "--size", "32", "48"]
    assert main(["make-data", "toy", *words, "--indexed", "--overwrite", "--workers", "0"]) == 0
    (sets, root), named = written.pop()
    assert {split: len(images) for split, images in sets.items()} == {"training": 3, "validation": 2}
    assert sets["training"][0].image.shape == (3, 32, 48)
    assert root == Path("toy")
    assert {name: named[name] for name in ("indexed", "overwrite", "num_workers", "ignore_index")} == {
        "indexed": True, "overwrite": True, "num_workers": 0, "ignore_index": 255
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1].split() == [
        "python", "train.py", "model=upernet_vitt", "data=ade20k", "data.root=toy", "data.num_classes=12",
        "data.image_size=[32,48]",
    ]  # fmt: skip
    assert main(["make-data", "toy", *words[:4], "--size", "32", "--seed", "6"]) == 0
    (others, _), named = written.pop()
    assert (named["indexed"], named["overwrite"], named["num_workers"]) == (False, False, 2)
    assert main(["make-data", "toy", *words[:4], "--size", "32", "--seed", "5"]) == 0
    (again, _), _ = written.pop()
    assert not (again["training"][0].image == others["training"][0].image).all()
    photos = watch("mae_hydra.data.write_imagenet", ["a", "b"])
    assert main(["make-data", "toy", "--layout", "imagenet", *words]) == 0
    (sets, _), _ = photos.pop()
    assert {split: len(images) for split, images in sets.items()} == {"train": 3, "val": 2}
    assert "model=mae_vitt data=imagenet data.root=toy data.num_classes=2" in capsys.readouterr().out


def test_every_option_of_shards(watch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["make-data", "in", "--layout", "imagenet", "--train", "6", "--validation", "4", "--size", "64",
                 "--workers", "0"]) == 0  # fmt: skip
    written = watch("mae_hydra.data.shards.write.write_shards", 5_000_000)
    shrunk = watch("mae_hydra.data.shards.shrink.Shrunk", "smaller")
    data = ["data=imagenet", "data.root=in", f"data.num_classes={len(list(Path('in/train').iterdir()))}"]
    words = ["--samples", "3", "--workers", "0", "--short", "40", "--decoded"]
    assert main(["make-shards", "out", *data, *words]) == 0
    (sets, root), named = written.pop()
    assert root == Path("out")
    assert sets == {"train": "smaller", "validation": "smaller"}
    assert [len(told[0]) for told, _ in shrunk] == [6, 4]
    assert shrunk[0][1] == {"short": 40, "channels": 3, "decoded": True, "pixel_range": None}
    assert (named["samples_per_shard"], named["num_workers"]) == (3, 0)
    assert named["classes"] == tuple(sorted(path.name for path in Path("in/train").iterdir()))
    assert [line for line in capsys.readouterr().out.splitlines() if line][-2:] == [
        "wrote 5.0 MB to out. To train on it:", "  python train.py model=mae_vitb data=shards data.root=out"
    ]  # fmt: skip
    listed = watch("mae_hydra.data.shards.write.index_shards", {"train": 6, "validation": 4})
    assert main(["make-shards", "out", "--index", "--image-suffix", ".PNG"]) == 0
    told, named = listed.pop()
    assert (told, named["image_suffix"]) == ((Path("out"),), "png")
    assert "wrote out/shards.json: 6 train, 4 validation images\n" in capsys.readouterr().out


def test_every_option_of_a_look_at_data(watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = SimpleNamespace(num_errors=0)
    looked = watch("mae_hydra.data.audit.dataset.audit", found)
    watch("mae_hydra.commands.check_data.report.write", ["a picture"])
    shown = watch("mae_hydra.commands.check_data.report.show")
    words = ["check-data", "data=scenes", "data.num_train=4", "data.num_validation=2", "data.image_size=[64,32]"]
    assert main([*words, "--limit", "3", "--workers", "0", "--out", "there"]) == 0
    (_, settings), named = looked.pop()
    assert settings["num_train"] == 4
    assert (named["limit"], named["num_workers"], named["refusal"], named["short"]) == (3, 0, None, 32)
    assert shown.pop()[0][1:] == (found, settings, Path("there"), ["a picture"])
    found.num_errors = 2
    assert main(words) == 1
    assert looked.pop()[1]["limit"] is None
    assert shown.pop()[0][3] == Path("outputs/check_data/scenes")


def test_what_the_reader_refuses_is_told_with_what_was_found(watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["make-data", "ade", "--train", "2", "--validation", "2", "--size", "64", "--workers", "0"]) == 0
    Path("ade/annotations").rename("ade/elsewhere")
    looked = watch("mae_hydra.data.audit.dataset.audit", SimpleNamespace(num_errors=1))
    watch("mae_hydra.commands.check_data.report.write")
    watch("mae_hydra.commands.check_data.report.show")
    assert main(["check-data", "data=ade20k", "data.root=ade", "data.num_classes=12"]) == 1
    assert "annotations" in looked.pop()[1]["refusal"]


def test_every_option_of_a_benchmark(watch, tmp_path, monkeypatch):
    from mae_hydra.benchmark.results import Measured

    monkeypatch.chdir(tmp_path)
    answer = Measured("table", {"numbers": 1})
    size, all_of_it = ["--size", "30", "40"], ["--rounds", "2", "--alone", "--shares", *["--size", "30", "40"]]
    for what, where, words, told, named in (
        ("parts", "verbs.parts", ["model=mae_vitt"], (["model=mae_vitt"],), {}),
        ("step", "verbs.step", ["a=1", "--rounds", "2", "--alone"], (["a=1"], 2), {"alone": True}),
        ("inference", "pictures.inference", ["run", "a=1", *all_of_it], ("run", ["a=1"], (30, 40), 2),
         {"alone": True, "shares": True}),
        ("inference", "pictures.inference", [], (None, [], (512, 683), 5), {"alone": False, "shares": False}),
        ("results-row", "pictures.results_row", ["run", "a=1", "--images", "7"], ("run", ["a=1"], 7), {}),
        ("loading", "loading.loading", [*size, "--images", "9", "--rounds", "3"], ((30, 40), 9, 3), {}),
        ("loading", "loading.loading", [], ((512, 683), 32, 5), {}),
    ):  # fmt: skip
        calls = watch(f"mae_hydra.benchmark.{where}", answer)
        assert main(["benchmark", what, *words, "--out", f"{what}.json"]) == 0
        assert calls == [(told, named)], what
        assert json.loads(Path(f"{what}.json").read_text()) == {"numbers": 1}


def test_every_option_of_a_dashboard(tmp_path, monkeypatch, watch):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.chdir(tmp_path)
    spaces = watch("mae_hydra.tracking.dashboards.workspace", "made")
    reports = watch("mae_hydra.tracking.dashboards.report", "made")
    watch("mae_hydra.tracking.dashboards.described", {"a": 1})
    words = ["dashboard", "--entity", "me", "--project", "mine", "--group", "g", "--keys", "a.b,c", "--metric"]
    for metric, more, mode in (
        ("val/loss", [], "min"),
        ("val/mIoU", [], "max"),
        ("val/loss", ["--mode", "max"], "max"),
    ):
        assert main([*words, metric, *more, "--out", "there"]) == 0
        swept = {"entity": "me", "project": "mine", "group": "g", "keys": ["a.b", "c"], "metric": metric, "mode": mode}
        assert reports.pop() == ((), swept | {"over_seeds": None})
        made = {told[0]: named for told, named in spaces}
        spaces.clear()
        assert made.pop("sweep") == swept
        assert set(made) == {"pretrain", "segment", "classify"}
        assert all(named == swept | {"group": None} for named in made.values())
    assert {path.name for path in Path("there").glob("*.json")} >= {"pretrain.json", "sweep.json", "report.json"}
    assert json.loads(Path("there/report.json").read_text()) == {"a": 1}


def test_every_option_of_a_replay_and_of_a_report(watch, tmp_path):
    replayed = watch("mae_hydra.workflows.replay.replay")
    assert main(["replay", "run", "step=3", "data.root=x"]) == 0
    assert replayed == [((Path("run"), ["step=3", "data.root=x"]), {})]
    page = tmp_path / "index.html"
    page.write_text("x")
    written = watch("mae_hydra.report.write_report", page)
    assert main(["report", "run", "--out", "there"]) == 0
    assert main(["report", "run", "--pages"]) == 0
    pages = [named.pop("with_pages") for _, named in written]
    assert written == [((Path("run"), Path("there")), {}), ((Path("run"), None), {})]
    assert pages == [False, True]
