"""What the program advises works as it is typed, and what cannot be is said in one sentence, not in a traceback."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mae_hydra.commands import main
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build

SIZES = ["engine=cpu", "data.num_workers=0", "data.num_train=4", "data.num_validation=2", "backbone.embed_dim=32"]
SIZES += ["backbone.num_heads=2", "data.image_size=64"]
SHALLOW = [*SIZES, "backbone.depth=2", "backbone.out_indices=[1]"]
MODELS = {
    "mae": ["model=mae_vitt", *SHALLOW, "head.embed_dim=16", "head.depth=1", "head.num_heads=2"],
    "upernet": ["model=upernet_vitt", *SIZES, "backbone.depth=4", "backbone.out_indices=[0,1,2,3]", "head.channels=8"],
    "classifier": ["model=classifier_vitt", *SHALLOW],
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of every kind of model one as a run writes it, untrained."""
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for name, words in MODELS.items():
        config = compose_config(words)
        found[name] = folder / f"{name}.pt"
        content = OmegaConf.to_container(config, resolve=True)
        torch.save({"model": build(config.model, "model").state_dict(), "config": content}, found[name])
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    return said


@pytest.mark.parametrize(
    ("model", "words", "answer"),
    [
        ("mae", ["evaluation=segment"], "got reconstruct, which is for masked autoencoders: they predict no classes"),
        ("mae", ["evaluation=segment", "inference=slide"], "mean IoU judges a model that gives every pixel a class"),
        (
            "mae",
            ["evaluation=classify", "data=scene_classes"],
            "this one predicts no classes; judge it with evaluation=",
        ),
        ("upernet", ["evaluation=pretrain", "inference=reconstruct"], "this one gives every pixel a class; judge it"),
        ("upernet", ["evaluation=classify", "data=scene_classes"], "or take a run of model=classifier_*, partial_*"),
        ("classifier", ["evaluation=segment", "inference=slide", "data=scenes"], "this one gives every image a class"),
        ("mae", ["model.mask_ratio=0.5"], "to score at another ratio use inference.mask_ratio=0.5"),
    ],
)
def test_an_evaluation_that_a_model_cannot_have_is_refused_with_the_one_it_has(
    checkpoints, capsys, tmp_path, monkeypatch, model, words, answer
):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, "evaluate", checkpoints[model], *words)
    assert answer in said


@pytest.mark.slow
def test_an_image_size_that_would_change_nothing_is_refused(checkpoints, capsys, tmp_path, monkeypatch):
    """Pictures of files are judged at their own size: scores were given under a new name, as if they were others."""
    monkeypatch.chdir(tmp_path)
    assert main(["make-data", "--train", "2", "--validation", "2", "--size", "64", "--workers", "0"]) == 0
    files = ["evaluate", checkpoints["upernet"], "data=ade20k", "data.root=toy", "data.num_classes=12"]
    said = refused(capsys, *files, "inference=whole", "data.image_size=128")
    assert "data.image_size would change nothing here" in said
    assert "inference.short" in said
    for words in (["inference=whole"], ["inference=slide", "inference.crop=64", "data.image_size=128"]):
        assert main([str(word) for word in [*files, *words]]) == 0  # the short side follows it


@pytest.mark.parametrize(
    ("words", "layout"), [(["data=imagenet"], "imagenet"), (["data=ade20k", "model=upernet_vitt"], "ade20k")]
)
def test_the_advice_for_a_missing_data_set_works_as_it_is_typed(capsys, tmp_path, monkeypatch, words, layout):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="is not there") as caught:
        build(compose_config(words).data, "data")
    [command] = [part for part in str(caught.value).split("`") if part.startswith("mae-hydra ")]
    assert main([*command.split()[1:], "--train", "8", "--validation", "2", "--size", "32", "--workers", "0"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "python train.py" in line]
    advised = line.split("python train.py ")[1].split()
    assert f"data={layout}" in advised
    assert len(build(compose_config(advised).data, "data").train) == 8
