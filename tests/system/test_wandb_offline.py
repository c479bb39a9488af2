"""`logger=wandb_offline` through the whole program; what is in the records is read back in tests/tracking."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import TINY_MAE, TINY_UPERNET

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.slow
def test_every_job_of_a_sweep_gets_a_wandb_run_of_its_own(train, tmp_path):
    overrides = [*TINY_MAE, "schedule.total=2", "logger=wandb_offline"]
    assert train("-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *overrides) == 0
    jobs = [path.parent for path in (tmp_path / "outputs").rglob("status.json")]
    ids = {(job / "wandb_id.txt").read_text() for job in jobs}
    assert len(jobs) == len(ids) == 2
    for job in jobs:
        [record] = job.rglob("run-*.wandb")
        assert (job / "wandb_id.txt").read_text().strip() in record.name


@pytest.mark.slow
def test_a_segmentation_run_keeps_its_masks_and_its_configuration(train, tmp_path):
    overrides = [*TINY_UPERNET, "schedule.total=2", "logger=wandb_offline", "hydra.run.dir=outputs/seg"]
    assert train("model=upernet_vitt", *overrides) == 0
    run = Path("outputs/seg")
    assert list(run.rglob("media/images/mask/**/*.png"))
    assert list(run.rglob("media/images/**/*.png"))
    assert yaml.safe_load((run / "config.yaml").read_text())["logger"]["wandb"]["mode"] == "offline"
    assert json.loads((run / "results.json").read_text())["val/mIoU"] >= 0
