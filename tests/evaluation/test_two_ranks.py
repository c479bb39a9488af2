"""Evaluation by two real processes over gloo."""

import os
import socket
from pathlib import Path

import forked
import pytest
import torch
import torch.multiprocessing as multiprocessing
from test_accuracy import CLASSES, Table, accuracy, data
from test_dense_probe import Reader, blocks, dense
from test_feature_probe import class_scenes, probe, tiny_mae
from toy_data import RedReader, ToyImages, toy_data

from mae_hydra.distributed import session
from mae_hydra.evaluation import MeanIoU
from mae_hydra.inference import Slide

SIZES = [(16, 24), (30, 41), (9, 24), (33, 26), (16, 70)]


def evaluate() -> dict:
    slide = Slide(crop=[16, 24], stride_ratio=0.6667, short=None, long_ratio=None, window_batch=3)
    evaluator = MeanIoU(
        data=toy_data(ToyImages(SIZES)),
        inference=slide,
        every=None,
        batch_size=2,
        num_workers=0,
        num_pictures=1,
        limit=None,
        boundary=True,
    )
    found = evaluator.run(RedReader(), 1)
    return {"scalars": found.scalars, "table": found.tables["per_class"], "pictures": sorted(found.pictures)}


def classify() -> dict:
    torch.manual_seed(0)
    names = [f"{kind}/1/c/{n}.jpg" for n, kind in enumerate(["fog", "snow", "fog", "fog", "snow", "fog", "snow"])]
    evaluator = accuracy(data([n % 5 for n in range(7)], names, grouped=True), batch_size=2)
    found = evaluator.run(Table(torch.randn(7, CLASSES)), 1)
    features = probe(class_scenes(num_train=13, num_validation=7)).run(tiny_mae(), 1)
    scalars = {**found.scalars, **{f"probe/{name}": value for name, value in features.scalars.items()}}
    patches = dense(blocks(), k=3).run(Reader(), 1)
    scalars |= {f"dense/{name}": value for name, value in patches.scalars.items()}
    return {"scalars": scalars, "table": [*found.tables["per_class"], *found.tables["per_group"]]}


def one_rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with session(torch.device("cpu")):
        torch.save({"segment": evaluate(), "classify": classify()}, Path(folder, f"{rank}.pt"))


@pytest.mark.slow
def test_two_ranks_find_what_one_finds_and_only_the_first_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked.children(monkeypatch)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(one_rank, (port, str(tmp_path)), nprocs=2)
    alone = evaluate()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["segment"] == alone
    assert second["segment"] == alone | {"pictures": []}
    assert first["classify"] == second["classify"]
    whole = classify()
    assert first["classify"]["table"] == whole["table"]
    assert first["classify"]["scalars"] == pytest.approx(whole["scalars"])
