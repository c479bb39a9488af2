"""A model meets the same classes in another order: evaluated and trained on by name, refused where they are others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_UPERNET
from PIL import Image

from mae_hydra.commands import main

ADE = ["data=ade20k", "data.num_classes=12", "data.reduce_zero_label=true"]
FOR_TRAINING = [word for word in TINY_UPERNET if not word.startswith("data.num_")] + ["data.num_workers=0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "ade"
    assert main(["make-data", str(root), "--train", "4", "--validation", "4", "--size", "64", "--workers", "0"]) == 0
    return root


@pytest.fixture
def run(train, trained_upernet, made) -> Path:
    shutil.copytree(made, "ade")
    return Path(shutil.copytree(trained_upernet, "run"))


def in_another_order(root: str, *, names: bool = True) -> list[int]:
    """A copy of "ade" at `root` whose class k is class order[k] there, called so unless `names` is False."""
    shutil.copytree("ade", root)
    content = json.loads(Path(root, "classes.json").read_text())
    order = np.random.default_rng(0).permutation(12)
    stored = np.zeros(256, np.uint8)  # 0 stays what is ignored
    stored[order + 1] = np.arange(1, 13)
    for path in Path(root, "annotations").rglob("*.png"):
        Image.fromarray(stored[np.asarray(Image.open(path))]).save(path)
    renamed = {key: [content[key][k] for k in order] for key in ("names", "palette")}
    Path(root, "classes.json").write_text(json.dumps(renamed if names else content))
    return order.tolist()


def scores(folder: str) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(Path(folder, "per_class.json").read_text())}


@pytest.mark.slow
def test_a_model_is_evaluated_on_the_same_classes_in_another_order_by_their_names(run, capsys):
    in_another_order("mixed")
    assert main(["evaluate", "run", *ADE, "data.root=ade", "--out", "plain"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", *ADE, "data.root=mixed", "--out", "mapped"]) == 0
    assert "model and data name the same classes in another order: mapped by name" in capsys.readouterr().out
    plain, mapped = scores("plain"), scores("mapped")
    assert list(plain) != list(mapped)
    for name, row in plain.items():
        assert mapped[name]["pixels"] == row["pixels"]
        assert mapped[name]["IoU"] == pytest.approx(row["IoU"], abs=1e-6)
    found = [json.loads(Path(folder, "results.json").read_text())["mIoU"] for folder in ("plain", "mapped")]
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_other_classes_are_refused_and_a_set_without_names_is_called_by_the_models(run, capsys):
    names = json.loads(Path("ade/classes.json").read_text())["names"]
    Path("ade/classes.json").write_text(json.dumps({"names": ["heaven", *names[1:]]}))
    assert main(["evaluate", "run", *ADE, "data.root=ade", "--out", "other"]) == 1
    assert "the model alone has sky, the data alone have heaven" in capsys.readouterr().err
    Path("ade/classes.json").unlink()
    assert main(["evaluate", "run", *ADE, "data.root=ade", "--out", "nameless"]) == 0
    assert list(scores("nameless")) == names


def test_training_goes_on_from_the_rows_of_the_same_names(run, train, capsys):
    order = in_another_order("mixed")
    words = ["model=upernet_vitt", *FOR_TRAINING, *ADE, "data.image_size=64", "init_from=run"]
    still = ["optimizer.lr=1e-12", "data.root=mixed", "evaluation=none"]
    assert train(*words, *still, "hydra.run.dir=again") == 0
    assert "mapped by name" in capsys.readouterr().out
    first, second = (
        torch.load(f"{folder}/checkpoints/last.pt", weights_only=True)["model"] for folder in ("run", "again")
    )
    for name in ("head.classify.weight", "head.classify.bias", "auxiliary.classify.weight"):
        torch.testing.assert_close(second[name], first[name][order], atol=1e-7, rtol=0)


def test_a_run_does_not_go_on_with_its_classes_in_another_order(run, train, capsys):
    in_another_order("mixed")
    words = ["model=upernet_vitt", *FOR_TRAINING, *ADE, "data.image_size=64", "evaluation=none", "hydra.run.dir=again"]
    assert train(*words, "data.root=ade") == 0
    shutil.copy("mixed/classes.json", "ade/classes.json")
    status = json.loads(Path("again/status.json").read_text())
    Path("again/status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    assert train(*words, "data.root=ade") == 1
    assert "another order of them: class 0 was sky and is" in capsys.readouterr().err
