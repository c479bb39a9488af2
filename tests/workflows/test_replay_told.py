"""What is written down of a step that was taken again, number by number."""

import json
import math
import shutil
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.types import Batch
from mae_hydra.workflows import replay, replay_report, replay_step
from mae_hydra.workflows.replay import _asked, _beginning, _changed
from mae_hydra.workflows.replay_report import batch_sheet, by_depth, write_and_show
from mae_hydra.workflows.replayed import Found, Shown

TORCH = version("torch")  # as pip knows it, which is what a run records
CONFIG = OmegaConf.create({"engine": {"device": "cpu", "log_every": 7}})
DATA: Any = SimpleNamespace(
    class_names=("sky", "sea"), palette=np.array([[250, 0, 0], [0, 0, 250]], np.uint8), shown=()
)


def shown(index: int, loss: float | None, **more: Any) -> Shown:
    pixels = np.full((8, 8, 3), 10 * index, np.uint8)
    given = {"labels": None, "visible": None} | more
    return Shown(process=1, index=index, name=f"image {index}", pixels=pixels, loss=loss, counted=4.0, **given)


def found(**changes: Any) -> Found:
    given: dict[str, Any] = {
        "means": {"loss": 0.5, "auxiliary": 0.25}, "count": 12.0, "rate": 1e-3, "grad_norm": 5.0,
        "norms": {"a": 3.0, "b": 4.0, "head": 12.0}, "depths": {"a": 0, "b": 0, "head": 3},
        "images": [shown(3, 0.1), shown(4, 0.9), shown(5, math.nan), shown(6, 0.7), shown(7, None)], "num_images": 9,
    }  # fmt: skip
    return Found(**given | changes)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    lines = [{"step": 4, "train/loss": 0.6}, {"step": 5, "train/loss": 0.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def told(run: Path, what: Found, step: int = 5, checkpoint: str | None = "/x/step-4.pt", **start: Any) -> dict:
    write_and_show(what, DATA, run, step, CONFIG, checkpoint=checkpoint, start=start)
    return json.loads((run / "replay" / f"step-{step}" / "step.json").read_text())


def test_a_step_is_told_with_every_number_under_its_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(run, found(), processes=2) == {
        "step": 5, "loss": 0.5, "auxiliary": 0.25, "count": 12.0, "learning_rate": 1e-3, "gradient_norm": 5.0,
        "finite": True, "loss_in_metrics": 0.5, "same_bits": True, "from": "step-4.pt", "processes": 2, "images": 9,
        "gradient_norm_by_depth": {"0": 5.0, "3": 12.0},
        "gradient_norm_by_parameter": {"a": 3.0, "b": 4.0, "head": 12.0},
    }  # fmt: skip
    samples = json.loads((run / "replay/step-5/samples.json").read_text())
    assert samples[1] == {"process": 1, "index": 4, "name": "image 4", "loss": 0.9, "counted": 4.0}
    said = capsys.readouterr().out
    assert "step 5: loss 0.5 (the same bits as in metrics.jsonl), gradient norm 5" in said
    ranked = [line for line in said.splitlines() if "  image " in line]
    assert ranked == ["loss nan  image 5  image 5", "loss 0.9  image 4  image 4", "loss 0.7  image 6  image 6"]
    rows = [line.strip("│ ").split("│") for line in said.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [["0", "2", "5"], ["3", "1", "12"]]


def test_a_step_that_differs_says_what_may_have_made_it(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "environment.json").write_text(json.dumps({"packages": {"torch": "99.0"}}))
    number = told(run, found(means={"loss": 0.75}), checkpoint=None, device="cuda")
    assert (number["same_bits"], number["loss_in_metrics"], number["from"]) == (False, 0.5, "initial weights")
    said = capsys.readouterr().out
    assert "step 5: loss 0.75 (metrics.jsonl has 0.5)" in said
    assert f"(torch 99.0 then, {TORCH} now; computed on cuda then, on cpu now)" in said
    for start, device in (({}, "cpu"), ({"device": "cpu"}, "cpu"), ({"device": "cuda"}, "auto")):
        config = OmegaConf.create({"engine": {"device": device, "log_every": 7}})
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        write_and_show(found(means={"loss": 0.75}, images=[]), DATA, run, 5, config, checkpoint=None, start=start)
        assert f"(torch 99.0 then, {TORCH} now)" in capsys.readouterr().out
    (run / "environment.json").write_text(json.dumps({"packages": {"torch": TORCH}}))
    told(run, found(means={"loss": 0.5 + 1e-9}, images=[]))
    assert "(another machine, other code, or kernels that add up in another order)" in capsys.readouterr().out
    number = told(run, found(images=[]), step=3)
    assert (number["same_bits"], number["loss_in_metrics"], number["processes"]) == (None, None, 1)
    assert "metrics.jsonl has no loss of this step alone (engine.log_every=7)" in capsys.readouterr().out
    assert {file.name for file in (run / "replay/step-3").iterdir()} == {"samples.json", "step.json"}
    told(run, found(images=[shown(1, 0.1)]), step=2)
    assert (run / "replay/step-2/batch.png").stat().st_size
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train/loss": null}\n')
    same = [
        told(run, found(means={"loss": value}, images=[]), step=6)["same_bits"] for value in (math.nan, math.inf, 0.5)
    ]
    assert same == [True, True, False]  # of what was no number, metrics.jsonl tells no more


def test_a_gradient_that_is_not_finite_is_told_where_it_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [shown(1, 0.0), shown(2, math.inf), shown(3, 1e-5), shown(4, None)]
    broken = found(grad_norm=math.inf, norms={"a": 3.0, "b": math.nan, "head": 12.0}, images=images)
    depths = by_depth(broken)
    assert (depths[0][1:], depths[3]) == ((2, 1), (12.0, 1, 0))
    number = told(run, broken)
    assert (number["finite"], number["gradient_norm"], number["gradient_norm_by_parameter"]["b"]) == (
        False,
        "inf",
        "nan",
    )
    said = capsys.readouterr().out
    assert "not finite: the step changed nothing" in said
    assert "nan, 1 not finite" in said
    ranked = [line.split()[1::2] for line in said.splitlines() if "  image " in line]
    assert ranked == [["inf", "2", "2"], ["1e-05", "3", "3"], ["0", "1", "1"]]
    assert [each["loss"] for each in json.loads((run / "replay/step-5/samples.json").read_text())][2:] == [1e-5, None]


def test_the_sheet_of_a_step_has_what_was_seen_beside_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(replay_report, "sheet", lambda rows, **more: drawn.update(more, rows=rows))
    monkeypatch.setattr(
        replay_report, "gallery",
        lambda pictures, captions, **more: drawn.update(more, captions=captions, pictures=pictures),
    )  # fmt: skip
    visible = np.zeros((8, 8), bool)
    visible[:, :4] = True
    batch_sheet(found(images=[shown(n, 0.1, visible=visible) for n in range(3)]), DATA, 5)
    assert drawn["title"] == "Step 5: loss 0.5"
    assert drawn["columns"] == ["image", "seen by the encoder"] * 2
    assert drawn["footnote"].startswith("6 more images are not shown. ")
    assert [len(row) for row in drawn["rows"]] == [4, 2]
    pixels, seen = drawn["rows"][1]
    assert (pixels == 20).all()
    assert (seen[:, :4] == 20).all()
    assert (seen[:, 4:] == 127).all()
    maps = [np.full((2, 2), number, np.uint8) for number in (0, 1)]
    batch_sheet(found(images=[shown(n, 0.1, labels=each) for n, each in enumerate(maps, 1)], num_images=2), DATA, 5)
    assert drawn["columns"] == ["image", "classes"] * 2
    assert [entry.name for entry in drawn["legend"]] == ["sky", "sea"]  # of all maps
    assert not drawn["footnote"].startswith("0")
    batch_sheet(found(images=[shown(1, 0.1, labels=maps[0])], num_images=1), DATA, 5)
    assert drawn["columns"] == ["image", "classes"]
    edge = np.repeat([[0] * 4 + [2] * 4], 8, 0).astype(np.uint8)
    colors = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    three: Any = SimpleNamespace(class_names=tuple("abc"), palette=colors, shown=())
    [large, over] = replay_report._views(shown(1, 0.1, labels=edge), three)
    half = large.shape[1] // 2
    share = replay_report.OPACITY
    for row, color in ((over[:, : half - 3], (250, 0, 0)), (over[:, half + 3 :], (0, 0, 250))):
        expected = np.array(color) * share + 10 * (1 - share)
        assert np.abs(row[2:-2, 2:-2] - expected).max() <= 1
    assert over[9, half - 1 : half + 1].sum(1).min() < over[9, half - 3].sum() / 2  # a dark line between the classes
    backwards: Any = SimpleNamespace(**vars(DATA) | {"shown": (2, 1, 0)})
    colored = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    image = Shown(0, 1, "", colored, None, None, None, None)
    assert np.array_equal(replay_report._views(image, backwards)[0], colored[..., ::-1])
    batch_sheet(found(images=[shown(n, 0.1, labels=n % 2) for n in range(9)], num_images=9), DATA, 5)
    assert (drawn["captions"], drawn["columns"]) == (["sky", "sea"] * 4 + ["sky"], 8)
    assert [int(picture[0, 0, 0]) for picture in drawn["pictures"]] == [10 * n for n in range(9)]
    batch_sheet(found(images=[shown(1, 0.1), shown(2, 0.1)], num_images=2), DATA, 5)
    assert (drawn["captions"], drawn["columns"]) == (["image 1", "image 2"], 2)


def saved(run: Path, name: str, step: int) -> None:
    (run / "checkpoints").mkdir(exist_ok=True)
    torch.save({"step": step, "config": {"seed": step}}, run / "checkpoints" / name)


def test_a_step_begins_from_the_newest_checkpoint_before_it(run: Path) -> None:
    for name, step in (("step-00002.pt", 2), ("best.pt", 3), ("last.pt", 4)):
        saved(run, name, step)
    for step, name, done in ((5, "last.pt", 4), (4, "best.pt", 3), (3, "step-00002.pt", 2), (2, None, 0)):
        found = _beginning(run, step)
        assert (found.checkpoint and found.checkpoint.name, found.step) == (name, done)
        assert found.config["seed"] == (done or 4)
    assert _beginning(run, 6).step == 4  # the one after the last may be the one that failed
    with pytest.raises(UserError, match="has taken 5 steps; step=7 is not one of them"):
        _beginning(run, 7)
    saved(run, "step-00009.pt", 9)  # beyond what metrics.jsonl has
    (run / "checkpoints/step-00008.pt").symlink_to("gone.pt")
    torch.save({"model": {}}, run / "checkpoints/step-00007.pt")  # which tells no step
    (run / "checkpoints/last.pt").write_bytes(b"damaged")
    assert [_beginning(run, step).step for step in (10, 9, 3)] == [9, 3, 2]
    (run / "config.yaml").write_text("seed: 77\n")
    assert _beginning(run, 10).config["seed"] == 9  # what the checkpoint tells is what computed on
    shutil.rmtree(run / "checkpoints")
    (run / "config.yaml").write_text("- a list\n")
    saved(run, "last.pt", 1)
    content = torch.load(run / "checkpoints/last.pt", weights_only=True)
    torch.save(content | {"config": {}}, run / "checkpoints/last.pt")
    with pytest.raises(UserError, match=r"nothing in .* tells the configuration of that step"):
        _beginning(run, 2)
    (run / "config.yaml").write_text("seed: 77\n")
    (run / "checkpoints/last.pt").unlink()
    begun = _beginning(run, 2)
    assert (begun.checkpoint, begun.step, begun.config["seed"]) == (None, 0, 77)
    (run / "config.yaml").unlink()
    with pytest.raises(UserError, match="is no run that can be replayed: there is neither a checkpoint nor config"):
        _beginning(run, 2)


def test_the_words_of_a_replay_name_one_step_and_change_nothing_that_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _asked(["data.root=x", "step=12"]) == (12, ["data.root=x"])
    for words in ([], ["step=0"], ["step=x"], ["step=1", "step=2"], ["steps=1"]):
        with pytest.raises(UserError, match="say which step"):
            _asked(words)
    record = {"seed": 0, "optimizer": {"lr": 1.0}, "data": {"root": "a"}}
    with pytest.raises(UserError, match=r"optimizer\.lr decides what is trained"):
        _changed(record, ["optimizer.lr=2"], Path("run"))
    monkeypatch.setattr(replay, "unknown_key", lambda key, words: f"no {key} in {words}")
    with pytest.raises(UserError, match=r"^no data\.rot in \['data\.rot=b'\]$"):
        _changed(record, ["data.rot=b"], Path("run"))
    with pytest.raises(UserError, match="seed decides what is trained"):
        _changed(record, ["seed=1"], Path("run"))
    whole = record | {"resume": "never", "then": {"a": ["x"]}, "init_from": None, "name": "${seed}", "notes": None}
    address = "hf-hub:a/b#part=ema"
    assert _changed(whole, ["data.root=b", f"init_from={address}"], Path("run")) == whole | {
        "resume": "auto", "then": {}, "data": {"root": "b"}, "init_from": address,
    }  # fmt: skip
    assert _changed(whole, ["data/root=b"], Path("run"))["data"] == {"root": "b"}
    with pytest.raises(UserError, match="resume must be a text or null, got 3"):
        _changed(whole, ["resume=3"], Path("run"))
    with pytest.raises(
        UserError, match="what run tells of its configuration is none of a run: a value of the kind obj"
    ):
        _changed(whole | {"tags": [object()]}, [], Path("run"))
    layer = {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}  # which a person may say
    with pytest.raises(UserError, match=r"head\._target_ = torch\.nn\.Linear is not built"):
        _changed({"data": {"root": "a"}, "head": layer}, [], Path("run"))


def test_pixels_are_those_before_normalization_and_what_was_seen_is_told_patch_by_patch() -> None:
    data: Any = SimpleNamespace(mean=(0.5, 0.25, 0.1), std=(0.2, 0.5, 0.3))
    picture = torch.tensor([10, 100, 250], dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 4)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    for given in (picture, (picture / 255 - mean) / std):
        assert replay_step._pixels(given, data).tolist() == [[[10, 100, 250]] * 4] * 2
    hidden = torch.tensor([[False, True, True, False, True, False, True, True]])
    encoder = SimpleNamespace(image_size=(8, 16), grid=(2, 4))
    output = SimpleNamespace(keep=torch.tensor([[0, 3, 5]]), hidden=hidden)

    class Model:
        predicted_share = 1.0

        def __call__(self, images: torch.Tensor) -> Any:
            return output

    model: Any = Model()
    model.encoder = encoder
    each = replay_step.Seen(Batch(torch.zeros(1, 3, 8, 16)), replay_step._generators())
    keep, visible = replay_step._what_was_seen(each, model, "pretrain")
    assert keep is output.keep
    assert visible[0, ::4, ::4].tolist() == [[True, False, False, True], [False, True, False, False]]
    assert visible.shape == (1, 8, 16)
    assert replay_step._what_was_seen(each, model, "segment") == (None, None)
    others: Any = SimpleNamespace(encoder=encoder)  # which hides nothing that is known of
    assert replay_step._what_was_seen(each, others, "pretrain") == (None, None)
    smaller = replay_step.Seen(Batch(torch.zeros(1, 3, 8, 8)), replay_step._generators())  # of a run that grows
    assert replay_step._what_was_seen(smaller, model, "pretrain") == (None, None)
