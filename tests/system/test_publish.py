"""`mae-hydra publish`: a folder for others that reads back as the model it was made from, and tells of no machine."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import TINY
from served import serving

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.workflows.model_card import scores_of
from mae_hydra.workflows.publish import _config, _for_everybody, without_places

CLASSIFIER = [*TINY, "backbone.out_indices=[1]"]


@pytest.fixture
def runs(train, trained_upernet, trained_mae, trained_classifier) -> dict[str, Path]:
    made = {"upernet": trained_upernet, "mae": trained_mae, "classifier": trained_classifier}
    return {name: Path(shutil.copytree(run, name)) for name, run in made.items()}


def answer(model, images, noise=None):
    return model(images) if noise is None else model(images, noise=noise)[0]


def test_what_is_published_gives_the_same_numbers(runs, tmp_path, monkeypatch):
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    monkeypatch.setenv("MAE_HYDRA_CACHE", str(tmp_path / "cache"))
    for name, run in runs.items():
        folder = Path("published") / name
        assert main(["publish", str(run), str(folder)]) == 0
        noise = torch.rand(2, 64) if name == "mae" else None
        original, read_back = mae_hydra.load(run), mae_hydra.load(folder)
        with torch.no_grad():
            assert torch.equal(answer(original, images, noise), answer(read_back, images, noise)), name
        assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
            "model.safetensors", "config.json", "README.md",
        }  # fmt: skip
        told = json.loads((folder / "config.json").read_text())
        assert told["image_mean"] == pytest.approx(read_back.mean.flatten().tolist(), abs=1e-6)
        with serving() as served:  # and from a hub
            monkeypatch.setenv("HF_ENDPOINT", served.address)
            served.repositories[f"org/{name}"] = {path.name: path.read_bytes() for path in folder.iterdir()}
            with torch.no_grad():
                fetched = mae_hydra.load(f"hf-hub:org/{name}")
                assert torch.equal(answer(original, images, noise), answer(fetched, images, noise)), name


def test_what_other_programs_read_is_what_the_model_declares():
    model = SimpleNamespace(answers="pixels", image_size=(32, 48), in_chans=5, parameters=lambda: [torch.zeros(7, 3)])
    checkpoint = SimpleNamespace(kind="other")
    meta = {"config": {"model": {"mean": [0.5] * 5}}, "class_names": ["sky", "sea"], "palette": [[1, 2, 3], [4, 5, 6]]}
    found = _config(checkpoint, model, meta)
    expected = {"image_size": (32, 48), "num_channels": 5, "parameters": 21, "num_labels": 2}
    assert {name: found[name] for name in expected} == expected
    assert found["pipeline_tag"] == "image-segmentation"
    assert (found["id2label"], found["label2id"]) == ({"0": "sky", "1": "sea"}, {"sky": 0, "sea": 1})
    assert (found["image_mean"], found["palette"]) == ([0.5] * 5, meta["palette"])
    assert not {"image_std", "step"} & set(found)  # of which nothing is known


def test_scores_are_those_of_the_step_of_the_weights(tmp_path):
    """results.json is of the last step, and best.pt of an earlier one."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.pt").write_bytes(b"weights")
    rows = [{"step": 2, "train/loss": 1.0}, {"step": 4, "train/loss": 0.5}, {"step": 6, "val/mIoU": 30.0}]
    (tmp_path / "results.json").write_text('{"val/mIoU": 31.0}')
    for step, last, told in ((2, 4, []), (4, 4, [31.0]), (6, 6, [30.0]), (None, 4, [])):
        lines = [json.dumps(row) + "\n" for row in rows if row["step"] <= last]
        (tmp_path / "metrics.jsonl").write_text("".join(lines))
        weights: Any = SimpleNamespace(path=tmp_path / "checkpoints/best.pt", meta={"step": step})
        assert [found.values["val/mIoU"] for found in scores_of(weights)] == told, step


def test_what_is_of_no_use_to_others_is_left_out():
    meta = {"config": {"notes": "mine", "seed": 3}, "ignored": ["mylab.Secret"], "step": 7}
    assert _for_everybody(meta) == {"config": {"notes": None, "seed": 3}, "step": 7}


@pytest.mark.slow
def test_it_is_evaluated_planned_and_trained_on_as_the_run_is(runs, train, capsys):
    for name, run in runs.items():
        assert main(["publish", str(run), name + "-published"]) == 0
        results = []
        for source in (str(run), name + "-published"):
            assert main(["evaluate", source, "--out", f"{source}-scores"]) == 0
            results.append(json.loads(Path(f"{source}-scores/results.json").read_text()))
        of_run, of_folder = (
            {key: value for key, value in each.items() if isinstance(value, float)} for each in results
        )
        assert of_run == of_folder, name
        assert main(["plan", name + "-published"]) == 0
    assert train(*["model=classifier_vitt", *CLASSIFIER], "init_from=mae-published", "hydra.run.dir=tuned") == 0
    assert json.loads(Path("tuned/parent.json").read_text())["path"].endswith("mae-published")


def test_what_is_published_tells_of_no_machine(runs, tmp_path):
    import socket

    assert main(["publish", "upernet", "published"]) == 0
    secrets = [str(tmp_path), str(Path.home()), socket.gethostname(), "OMP_NUM_THREADS"]
    for path in Path("published").iterdir():
        content = path.read_bytes()
        if path.suffix == ".safetensors":  # what stands before the numbers
            content = content[: 8 + int.from_bytes(content[:8], "little")]
        for secret in secrets:
            assert not re.search(rb"(?<!\w)" + re.escape(secret.encode()) + rb"(?!\w)", content), (path.name, secret)


def test_the_card_has_the_data_the_recipe_and_the_scores_of_these_weights(runs):
    assert main(["publish", "upernet", "published"]) == 0
    card = Path("published/README.md").read_text()
    step = json.loads(Path("published/config.json").read_text())["step"]
    rows = [json.loads(line) for line in Path("upernet/metrics.jsonl").read_text().splitlines()]
    score = next(row["val/mIoU"] for row in rows if row["step"] == step and "val/mIoU" in row)
    assert f"| val/mIoU | {score:.4g} |" in card
    assert "python train.py model=upernet_vitt +debug=smoke" in card
    assert "| set | scenes |" in card
    assert "sky, cloud, mountain" in card
    assert "license: other" in card
    assert "License: not chosen yet" in card


@pytest.mark.usefixtures("without_figures")
def test_a_later_evaluation_of_these_weights_is_told_and_one_of_others_is_not(runs):
    assert main(["evaluate", "upernet"]) == 0
    assert main(["evaluate", "upernet", "--last", "inference=slide"]) == 0
    steps = {name: torch.load(f"upernet/checkpoints/{name}.pt", weights_only=True)["step"] for name in ("best", "last")}
    assert main(["publish", "upernet", "published"]) == 0
    card = Path("published/README.md").read_text()
    assert "By mae-hydra evaluate, scenes, Whole, " in card
    assert ("scenes, Slide" in card) == (steps["best"] == steps["last"])


def test_an_address_is_published_already(capsys, tmp_path):
    assert main(["publish", "timm/vit_base_patch16_224.mae", str(tmp_path / "published")]) == 1
    assert "of your own" in capsys.readouterr().err


def test_what_somebody_else_wrote_is_refused_and_an_edited_card_is_kept(runs, capsys):
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    assert main(["publish", "upernet", "mine"]) == 1
    assert "has not written" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]
    Path("clone/.git").mkdir(parents=True)  # of an empty repository
    assert main(["publish", "upernet", "clone"]) == 0
    card = Path("clone/README.md")
    assert main(["publish", "mae", "clone"]) == 0
    assert "masked autoencoder" in card.read_text()
    card.write_text(card.read_text().replace("license: other", "license: apache-2.0"))
    assert main(["publish", "upernet", "clone"]) == 0
    assert "has been edited and is left as it is" in capsys.readouterr().out
    assert "license: apache-2.0" in card.read_text()


def test_a_card_is_text_whatever_the_record_says(runs):
    import yaml

    words = yaml.safe_load(Path("upernet/overrides.yaml").read_text())
    Path("upernet/overrides.yaml").write_text(yaml.safe_dump([*words, "tags=[```\n# <script>|x]"]))
    assert main(["publish", "upernet", "published"]) == 0
    command = next(line for line in Path("published/README.md").read_text().splitlines() if "tags=" in line)
    assert command.startswith("python train.py")
    assert "```" not in command


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("data.root=/home/me/ADE", "data.root=ADE"),
        ("['/a/b', \"/c d/e\"]", "['b', \"c d/e\"]"),
        ("~me/x/y", "y"),
        ("root=/data, ~/x", "root=data, x"),
        ("file:///home/me/conf", "conf"),
        ("https://a.b/c/d.pth", "https://a.b/c/d.pth"),
        ("outputs/runs/x", "outputs/runs/x"),
        ("../labels", "../labels"),
        ("hf-hub:org/name", "hf-hub:org/name"),
        ("road / street", "road / street"),
    ],
)
def test_of_a_path_its_last_name_is_left(text, left):
    assert without_places(text) == left
