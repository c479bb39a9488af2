"""The runs of docs/real-data.md: words that compose, equal budgets, and tables of what was measured."""

import json
import sys
from pathlib import Path

import pytest

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config

FOLDER = Path(__file__).parents[2] / "benchmarks/real_data"
sys.path.insert(0, str(FOLDER))
import results  # noqa: E402
from stages import Stage, classifications, pretrainings, segmentations  # noqa: E402

CAMVID, PHOTOS, OUT = Path("/camvid"), Path("/photos"), Path("/out")
SEGMENTATIONS = segmentations(CAMVID, OUT, 1)
OTHERS = [*pretrainings(CAMVID, PHOTOS), *classifications(PHOTOS, OUT, 1)]


@pytest.mark.parametrize("stage", OTHERS, ids=lambda stage: stage.name)
def test_the_words_of_a_stage_compose(stage: Stage):
    check(compose_config([*stage.words]))


def test_all_arms_have_one_budget_and_one_way_of_looking():
    folder = f"hydra.searchpath=[file://{FOLDER / 'conf'}]"
    configs = [compose_config([folder, *stage.words]) for stage in SEGMENTATIONS]
    for config in configs[1:]:
        for node in ("data", "augment", "schedule", "inference", "evaluation", "seed"):
            assert config[node] == configs[0][node], node


def made_run(folder: Path, seed: int, mean_iou: float) -> None:
    folder.mkdir(parents=True)
    status = {"state": "completed", "value": mean_iou, "start": 10.0, "end": 100.0, "overrides": []}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "config.yaml").write_text(f"seed: {seed}\n")
    (folder / "test").mkdir()
    (folder / "test/results.json").write_text(json.dumps({"mIoU": mean_iou, "aAcc": 80.0}))
    rows = [{"name": "Sky", "IoU": mean_iou}, {"name": "Pole", "IoU": None}]
    (folder / "test/per_class.json").write_text(json.dumps(rows))


def test_the_table_pairs_seeds_and_tells_students_interval(tmp_path: Path):
    for seed, (scratch, own) in enumerate([(20.0, 24.0), (22.0, 26.0), (24.0, 28.0)]):
        made_run(tmp_path / f"scratch-{seed}", seed, scratch)
        made_run(tmp_path / f"own-{seed}", seed, own)
    runs = results.complete(tmp_path, results.ARMS)
    assert list(runs) == ["scratch", "own"]
    _, _, scratch_row, own_row = results.segmentation_table(runs)
    # 4.30 x 2 / sqrt(3); the differences are 4 with every seed.
    assert "| 20.0, 22.0, 24.0 | 22.0 ± 5.0 |  | 80.0 ± 0.0 | 1.5 |" in scratch_row
    assert "| 24.0, 26.0, 28.0 | 26.0 ± 5.0 | 4.0 ± 0.0 | 80.0 ± 0.0 | 1.5 |" in own_row
    table = results.class_table(results.class_means(runs))
    assert table[2:] == ["| Sky | 22.0 | 26.0 |", "| Pole | – | – |"]
