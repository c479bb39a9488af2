"""The pages of single runs while they are served."""

import json
from pathlib import Path

import pytest
from made_runs import made_run

from mae_hydra.experiment.holder import holding
from mae_hydra.report.folder_page import id_of_path
from mae_hydra.report.serve import Site


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_a_run_that_died_does_not_go_on_saying_that_it_runs(tmp_path: Path) -> None:
    """No file of it changes then."""
    run = made_run(tmp_path / "run", ["seed=1"], state="running", cells=False)
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"end": None, "value": None}))
    site = Site(tmp_path, 1)
    with holding(run):
        alive = site.answer(f"/{id_of_path(run)}/")
    dead = site.answer(f"/{id_of_path(run)}/")
    site.close()
    assert "running" in str(alive)
    assert "interrupted" in str(dead)
