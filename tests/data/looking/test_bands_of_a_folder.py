"""Pictures of many bands are found as such, and the words that are printed read them."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mae_hydra.commands.check_data.look import look_at_data
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.data.audit.statistics import statistics
from mae_hydra.data.looking import look
from mae_hydra.data.looking.advice import advise


def write(root: Path, bands: int, kind: str, names: int = 6) -> None:
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(names):
        classes = np.kron(rng.permutation([0, 1, 1, 2]).reshape(2, 2), np.ones((16, 16), int))
        values = (
            100 * np.arange(1, bands + 1) + 30 * classes[:, :, None] + rng.integers(0, 20, (32, 32, bands))
        ).astype(kind)
        form = {"photometric": "minisblack", "planarconfig": "contig"} if bands > 1 else {}
        tifffile.imwrite(root / f"images/{number}.tif", values, **form)
        tifffile.imwrite(root / f"masks/{number}.tif", classes.astype(np.int64))  # as some programs write them


@pytest.mark.parametrize(("bands", "kind"), [(2, "float32"), (13, "uint16")])
def test_the_words_for_bands_are_measured_and_read_the_set(tmp_path, bands, kind, capsys):
    write(tmp_path, bands, kind)
    assert look_at_data(tmp_path, None, None) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])[2:]
    assert f"data.channels={bands}" in words
    assert ("data.shown_bands=[4,3,2]" in words) == (bands == 13)
    data = build(compose_config(words).data, "data")
    assert (data.channels, data.num_classes, len(data.train) + len(data.validation)) == (bands, 3, 6)
    images = np.stack([data.train[place].image.numpy() for place in range(len(data.train))]) / 65535
    assert data.mean == pytest.approx(images.mean((0, 2, 3)), abs=6e-4)
    assert data.std == pytest.approx(images.std((0, 2, 3)), abs=6e-4)
    assert statistics(data.train, 100) == (list(data.mean), list(data.std))


@pytest.mark.parametrize(("bands", "kind"), [(1, "uint16"), (3, "uint16"), (3, "uint8"), (4, "uint8")])
def test_photographs_need_no_words(tmp_path, bands, kind):
    write(tmp_path, bands, kind)
    for way in advise(look(tmp_path)).ways:
        assert "channels" not in way.keys
