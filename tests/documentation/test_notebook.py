"""The notebook of the documentation runs as it stands, on the smallest runs, and shows what it was run with."""

import json
from pathlib import Path

import matplotlib
import pytest
from commands import ROOT
from PIL import Image

from mae_hydra.commands import main
from mae_hydra.launching.launch import launch

NOTEBOOK = ROOT / "docs" / "features.ipynb"
SIZES = ["backbone.embed_dim=32", "backbone.depth=4", "backbone.num_heads=2", "backbone.out_indices=[0,1,2,3]"]
SMALL = ["+debug=smoke", "data.num_train=16", "data.num_validation=4", *SIZES]


def cells() -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_it_is_checked_in_with_its_output_and_is_small():
    assert NOTEBOOK.stat().st_size < 600_000
    assert all(cell["outputs"] and cell["execution_count"] for cell in cells())
    assert "image/png" in json.dumps(cells())
    assert not [cell for cell in cells() for output in cell["outputs"] if output["output_type"] == "error"]


@pytest.mark.slow
def test_its_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    assert launch(["model=mae_vitt", *SMALL, "hydra.run.dir=outputs/runs/mae_vitt/1"]) == 0
    assert launch(["model=upernet_vitt", *SMALL, "head.channels=16", "hydra.run.dir=outputs/runs/upernet_vitt/1"]) == 0
    assert (
        main(["make-data", "made", "--train", "1", "--validation", "3", "--size", "96", "128", "--workers", "0"]) == 0
    )
    Path("CamVid/val").mkdir(parents=True)
    for number, photo in enumerate(sorted(Path("made/images/validation").iterdir()) * 31):  # every 45th is shown
        Image.open(photo).convert("RGB").save(f"CamVid/val/{number:03}.jpg")
    names: dict = {}
    for cell in cells():
        exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    assert [each.shape for each in names["class_maps"]] == [(96, 128)] * 3
