"""Photos and label maps are told apart by how many colors a picture has, if it is large enough to have many."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_hydra.data.labels import recognise
from mae_hydra.data.labels.recognise import LEAST_PIXELS, MOST_COLOURS, _is_label_like, label_like_note


@pytest.mark.parametrize("bands", [(), (1,), (3,), (4,)])
def test_a_label_map_has_few_colors_on_many_pixels(bands: tuple[int, ...]) -> None:
    """Of colors that differ in the last band alone, as those of a palette of blues."""
    values = np.zeros((16, 16, *bands), np.uint8)
    assert values[..., :1].size == LEAST_PIXELS or not bands
    last = values.reshape(LEAST_PIXELS, -1)[:, -1]
    last[:MOST_COLOURS] = range(MOST_COLOURS)
    assert _is_label_like(values)
    assert not _is_label_like(values[:-1])
    last[MOST_COLOURS] = MOST_COLOURS
    assert not _is_label_like(values)


def test_colors_differ_in_any_of_their_bands() -> None:
    steps = np.arange(48, dtype=np.uint8)
    values = np.zeros((48, 16, 3), np.uint8)
    values[:, :, 0], values[:, :, 1] = (16 * (steps % 16))[:, None], (15 - steps % 16)[:, None]
    values[:, :, 2] = (steps // 16)[:, None]
    assert not _is_label_like(values)


def test_a_quarter_of_label_maps_is_said_with_the_photo_beside_the_first(tmp_path: Path, monkeypatch) -> None:
    """JPEGs are none, and are not opened."""
    (tmp_path / "m").mkdir()
    for name in ("m/0.png", "m/1.png"):
        Image.new("L", (16, 16)).save(tmp_path / name)
    jpegs = [f"photos/{number}.JPG" for number in range(6)]
    maps = ["m/0.png", "m/1.png"]
    [note] = label_like_note(tmp_path, [*maps, *jpegs])
    assert note.startswith(f"warning: about 2 of 8 pictures in {tmp_path} look like label maps")
    assert "m/0.png beside photos/0.JPG for one" in note
    assert label_like_note(tmp_path, [*maps, *jpegs, "photos/6.jpg"]) == []
    assert label_like_note(tmp_path, jpegs) == []
    assert "about 4 of 5 pictures" in label_like_note(tmp_path, ["gone.png", "m/2.png", *maps, "a.jpg"])[0]
    assert "m/0.png for one" in label_like_note(tmp_path, maps)[0]
    assert "m/0.png beside x/0.gif for one" in label_like_note(tmp_path, [*maps, "x/0.gif"])[0]
    assert "m/0.png beside y/0.jpg for one" in label_like_note(tmp_path, [*maps, "x/0.gif", "y/0.jpg"])[0]
    monkeypatch.setattr(recognise, "MOST_PIXELS", 256)
    Image.effect_noise((16, 16), 99).save(tmp_path / "m/1.png")
    Image.effect_noise((16, 16), 99).save(tmp_path / "m/2.png")
    assert "about 2 of 3 pictures" in label_like_note(tmp_path, [*maps, "m/2.png"])[0]  # two are looked at
