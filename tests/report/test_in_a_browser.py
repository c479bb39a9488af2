"""Pages in a real browser: nothing is cut at the widths of a desk, a tablet and a phone, and axe finds nothing serious.

`make test-browser` gets axe-core and says where it is; without it, or without a browser, these tests are skipped.
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import made_run
from PIL import Image

from mae_hydra.commands import main
from mae_hydra.evaluation.pictures import shares_of
from mae_hydra.figures import sheet
from mae_hydra.report import write_report

AXE = Path(os.environ.get("AXE", ""))
WIDTHS = (1400, 900, 390)
SCHEMES = {"dark": 0, "light": 1}  # Chromium's numbers
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="no browser here"),
    pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not here: make test-browser"),
]
# A window of a headless browser has a least width, a frame has none; frames of the same document can be looked into.
LOOK = """
const frames = [...document.querySelectorAll("iframe")];
const shown = (frame) => new Promise((done) => { frame.onload = done; frame.srcdoc = PAGE; });
Promise.all(frames.map(shown)).then(async () => {
  const found = [];
  for (const frame of frames) {
    const page = frame.contentDocument, wide = page.documentElement.clientWidth;
    const over = [...page.querySelectorAll("main *")].filter((each) =>
      each.getBoundingClientRect().right > wide + 1
      || (!each.closest("svg") && each.clientWidth && each.scrollWidth > each.clientWidth + 1));
    const { violations } = await frame.contentWindow.axe.run(page, { resultTypes: ["violations"] });
    found.push({
      width: frame.width,
      cut: over.slice(0, 3).map((e) => e.outerHTML.slice(0, 120)),
      serious: violations.filter((each) => ["serious", "critical"].includes(each.impact))
        .map((each) => `${each.id}: ${each.nodes[0].html.slice(0, 120)}`),
    });
  }
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = JSON.stringify(found);
});
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for ratio in (0.5, 0.75):
        for kind in ("a_kind_with_a_long_name", "b"):
            words = [f"model.mask_ratio={ratio}", f"head.kind={kind}", "paths.output_root=/a/long/path/of/many/parts"]
            run = made_run(root / "runs" / f"{ratio}-{kind}", words, value=40 * ratio)
            Image.fromarray(sheet([[photo] * 8], columns=["image"] * 8)).save(run / "figures" / "segmentation.png")
            Image.fromarray(shares_of(10 * torch.eye(3) + 1)).save(run / "figures" / "confusion_shares.png")
            (run / "tables").mkdir()
            scores = {"IoU": 10.0, "Acc": 20.0, "Dice": 5.0, "Precision": 5.0, "pixels": 1000}
            rows = [{"name": name, **scores} for name in ("sky", "sea", "rock")]
            (run / "tables" / "per_class.json").write_text(json.dumps(rows))
    assert main(["compare", *map(str, sorted((root / "runs").iterdir())), "--out", str(root / "compare")]) == 0
    return {
        "run": write_report(next((root / "runs").iterdir()), root / "run"),
        "sweep": write_report(root / "runs", root / "sweep"),
        "folder": write_report(root, root / "folder"),
        "compare": root / "compare" / "index.html",
    }


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["run", "sweep", "folder", "compare"])
def test_nothing_is_cut_and_nothing_serious_is_found(
    name: str, scheme: str, pages: dict[str, Path], tmp_path: Path
) -> None:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", pages[name].read_text())
    text = json.dumps(text.replace("</head>", f"<script>{AXE.read_text()}</script></head>")).replace("</", "<\\/")
    frames = "".join(f'<iframe width="{width}" height="900"></iframe>' for width in WIDTHS)
    looking = tmp_path / "looking.html"
    looking.write_text(f"<!doctype html><body>{frames}<script>const PAGE = {text};{LOOK}</script></body>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=30000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"]
    asked = ["chromium", *options, "--dump-dom", f"file://{looking}"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=180)
    found = json.loads(html.unescape(done.stdout.partition("<pre>")[2].partition("</pre>")[0]))
    assert [(each["width"], each["cut"], each["serious"]) for each in found] == [(str(w), [], []) for w in WIDTHS]
