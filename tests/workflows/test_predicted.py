"""How a prediction looks at its pictures, and what of it is written where."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mae_hydra.data.decoding.bands import endings_of
from mae_hydra.errors import UserError
from mae_hydra.inference import MultiscaleFlip, Slide
from mae_hydra.inference.segmenter import Piece
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows import predict, predict_labels, predict_maps, predict_panels
from mae_hydra.workflows.predict import _settled, named
from mae_hydra.workflows.predict_classes import Classes
from mae_hydra.workflows.predict_labels import LabelFiles
from mae_hydra.workflows.predict_maps import Segmentations
from mae_hydra.workflows.predict_options import Options, shown_of, wanted_channels
from mae_hydra.workflows.predict_panels import Reconstructions, centred

CHECKPOINT = Checkpoint({}, {}, "", Path("a.pt"))


class Ramp(torch.nn.Module):
    """Seven classes, whose logits are the picture's mean level at the class's place."""

    num_classes = 7

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SimpleNamespace(image_size=(8, 8))
        self.mean = torch.zeros(1)
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        level = images.float().mean((1, 2, 3))[:, None]
        return -(torch.arange(7.0) * 10 - level).abs()


def test_the_classes_of_a_picture_are_ranked_with_their_numbers_and_shares(tmp_path: Path) -> None:
    evaluators = {"probe": {"every": 1}, "validation": {"crop_ratio": 0.5}}
    meta = {"class_names": [f"c{n}" for n in range(7)], "config": {"evaluation": evaluators}}
    model: Any = Ramp()
    writer = Classes(model, Checkpoint({}, meta, "", Path("a.pt")), tmp_path)
    picture = torch.full((3, 16, 16), 200, dtype=torch.uint8)
    picture[:, 4:12, 4:12] = 21  # the half that evaluation looked at
    [file] = writer.write([picture], ["a/b"])
    assert file == tmp_path / "classes/a/b.json"
    found = json.loads(file.read_text())
    shares = (-(torch.arange(7.0) * 10 - 21).abs()).softmax(0)
    assert [(each["class"], each["id"]) for each in found] == [("c2", 2), ("c3", 3), ("c1", 1), ("c4", 4), ("c0", 0)]
    assert [each["probability"] for each in found] == pytest.approx(
        [shares[n].item() for n in (2, 3, 1, 4, 0)], abs=1e-6
    )
    assert (
        Classes(model, Checkpoint({}, {"class_names": ["a"]}, "", Path("a.pt")), tmp_path).class_names[3] == "class 3"
    )
    for ratio, cover in ((1, 8), (0.5, 16), (None, 9), ("x", 9), (True, 9)):
        told = {"config": {"evaluation": {"probe": {"every": 1}, "validation": {"crop_ratio": ratio}}}}
        assert Classes(model, Checkpoint({}, told, "", Path("a.pt")), tmp_path).transform.cover == (cover, cover)
    assert writer.write([], []) == []
    model.forward = lambda images: torch.tensor([[0.0] * 6 + [math.nan]])
    with pytest.raises(UserError, match="the model's logits"):
        writer.write([picture], ["a/b"])


def test_a_picture_of_another_shape_fills_the_models_size_and_keeps_its_centre() -> None:
    wide = torch.zeros(3, 20, 60, dtype=torch.uint8)
    wide[:, :, 20:40] = 200
    assert centred(wide, (10, 10)).min() > 150
    assert centred(wide, (10, 10)).shape == (3, 10, 10)
    assert centred(torch.full((3, 1, 1), 9, dtype=torch.uint8), (4, 6)).tolist() == [[[9] * 6] * 4] * 3


def test_a_row_of_a_panel_is_of_one_seed_and_a_pair_of_its_cells_of_one_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    class Noted:
        """A reconstruction whose pixels tell of what it was asked."""

        def __init__(self, *, mask_ratio: float, seed: int) -> None:
            self.level = int(100 * mask_ratio) + seed

        def run(self, model: Any, images: torch.Tensor, index: torch.Tensor) -> Any:
            assert index.tolist() == [0]
            return SimpleNamespace(
                masked=np.full((1, 8, 8, 3), self.level, np.uint8),
                pasted=np.full((1, 8, 8, 3), 100 + self.level, np.uint8),
                leaks=self.level == 51,
            )

    monkeypatch.setattr(predict_panels, "Reconstruct", Noted)

    def sheet(rows: Any, **more: Any) -> np.ndarray:
        drawn.update(more, rows=rows)
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(predict_panels, "sheet", sheet)
    model: Any = SimpleNamespace(encoder=SimpleNamespace(image_size=(8, 8)))
    writer = Reconstructions(model, Path("run"), Options(tmp_path, mask_ratios=(0.25, 0.5), seeds=(0, 1)), CHECKPOINT)
    [file] = writer.write([torch.full((3, 16, 12), 7, dtype=torch.uint8)], ["x"])
    assert drawn["rows"][0][0].shape == (8, 8, 3)
    assert file == tmp_path / "panels/x.png"
    assert [[int(cell[0, 0, 0]) for cell in row] for row in drawn["rows"]] == [
        [7, 25, 125, 50, 150],
        [7, 26, 126, 51, 151],
    ]
    assert drawn["columns"] == ["image", "25 % masked", "prediction", "50 % masked", "prediction"]
    assert (drawn["row_names"], drawn["title"]) == (["seed 0", "seed 1"], "x")
    assert "Patch mean and contrast from the original" in drawn["footnote"]
    assert "center of 8x8 pixels." in drawn["footnote"]
    assert drawn["cell"] == 224
    backwards = Checkpoint({}, {"config": {"data": {"channels": 3, "shown_bands": [3, 2, 1]}}}, "", Path("a.pt"))
    anything: Any = SimpleNamespace()
    plain = Reconstructions(anything, Path("run"), Options(tmp_path), backwards)
    assert (plain.mask_ratios, plain.seeds) == ((0.5, 0.75, 0.9), (0,))
    colored = torch.arange(3, dtype=torch.uint8).view(3, 1, 1).expand(3, 6, 10)
    plain.write([colored], ["x"])
    assert drawn["rows"][0][0].shape == (6, 10, 3)  # of a model of no size that of the picture
    assert drawn["rows"][0][0][0, 0].tolist() == [2, 1, 0]
    assert [int(cell[0, 0, 0]) for cell in drawn["rows"][0][1:]] == [50, 150, 75, 175, 90, 190]
    assert drawn["row_names"] == []
    assert "Patch mean" not in drawn["footnote"]


def test_of_many_classes_the_numbers_are_of_sixteen_bits() -> None:
    for count, kind in ((256, np.uint8), (257, np.uint16)):
        writer = Segmentations.__new__(Segmentations)
        inference: Any = Slide.__new__(Slide)
        scores = torch.arange(float(count)).view(count, 1, 1)
        inference.pieces = lambda model, images, scores=scores: [Piece(0, 0, 0, scores)]
        writer.model, writer.inference = SimpleNamespace(num_classes=count), inference
        classes, kept, _ = writer._probabilities(torch.zeros(3, 1, 1))
        assert (classes.dtype, kept.dtype, int(classes[0, 0]), int(kept[4, 0, 0])) == (kind, kind, count - 1, count - 5)


@pytest.mark.parametrize("averaged", [True, False])
def test_probabilities_are_those_of_logits_or_of_the_mean_that_was_made(averaged: bool) -> None:
    scores = torch.tensor([3.0, 1.0, 0.5, 2.0, 0.25, 0.125]).view(6, 1, 1)
    if averaged:
        scores = scores.softmax(0)
    kind = MultiscaleFlip if averaged else Slide
    inference = kind.__new__(kind)
    rows = (Piece(0, top, 0, scores.expand(6, 1, 2)) for top in range(2))
    inference.pieces = lambda model, images: rows  # type: ignore[method-assign]
    writer = Segmentations.__new__(Segmentations)
    writer.model, writer.inference = SimpleNamespace(num_classes=6), inference  # type: ignore[assignment]
    classes, kept, shares = writer._probabilities(torch.zeros(3, 2, 2))
    assert classes.tolist() == [[0, 0], [0, 0]]
    assert (classes.dtype, kept.dtype, shares.dtype) == (np.uint8, np.uint8, np.float16)
    expected = scores if averaged else scores.softmax(0)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert kept[:, *place].tolist() == [0, 3, 1, 2, 4]
        assert shares[:, *place].tolist() == pytest.approx(expected.flatten()[[0, 3, 1, 2, 4]].tolist(), abs=1e-3)


def test_the_range_that_is_told_counts_before_that_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(predict, "settle_files", lambda told, *more, told_by, bits: asked.append((told, told_by, bits)))
    recorded = Checkpoint({}, {"origin": {"data": {"range": [[5, 90]]}}}, "", Path("a.pt"))
    nothing = Checkpoint({}, {}, "", Path("a.pt"))
    for checkpoint, given in ((recorded, (1.0, 2.0)), (recorded, None), (nothing, None), (nothing, (1.0, 2.0))):
        _settled(Options(Path("o"), range=given), checkpoint, 1, [])
    assert asked == [((1.0, 2.0), "--range", None), ([[5.0, 90.0]], "as in training", None),
                     ("auto", "as in training", None), ((1.0, 2.0), "--range", None)]  # fmt: skip
    for bits in (8, 16, 12, "8"):
        _settled(Options(Path("o")), Checkpoint({}, {"config": {"data": {"bits": bits}}}, "", Path("a.pt")), 1, [])
    assert [found[2] for found in asked[4:]] == [8, 16, None, None]


def test_a_limit_counts_pictures_and_equal_names_are_numbered(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("x.png", "x.jpg", "X.gif", "more/x.png")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
    called = [(file, file.relative_to(tmp_path)) for file in (files[0], files[0], *files[1:])]
    assert [name for _, name in named(iter(called), None)] == ["x", "x_2", "X_3", "more/x"]
    assert list(named(iter(called), 2)) == [(files[0], "x"), (files[1], "x_2")]
    (tmp_path / "link.png").symlink_to(files[0])
    again = [*called[:1], (tmp_path / "link.png", Path("link.png")), (files[1], Path(f"{'y' * 300}/{'z' * 300}.jpg"))]
    assert [name for _, name in named(iter(again[1::-1]), None)] == ["link"]
    [(first, _), (file, long)] = named(iter(again), None)  # one file, whatever it is called
    assert (first, file) == (files[0], files[1])
    assert [len(part) <= 255 for part in long.split("/")] == [True, True]


def test_words_are_files_folders_and_patterns_and_a_word_that_finds_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.png", "b/1.jpg", "b/notes.txt", "a.png", "c.npy", "d/e/1.png", "d/f/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    notes: list[str] = []

    def found(*words: str, endings: tuple[str, ...] = (".png", ".jpg")) -> list[tuple[str, str]]:
        files = predict.listed([str(tmp_path / word) for word in words], notes, endings)
        return [(file.relative_to(tmp_path).as_posix(), str(called)) for file, called in files]

    (tmp_path / "folder.png").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    home = predict.listed(["~/a.png", "~/b/1.*"], [], (".png",))
    assert [file for file, _ in home] == [tmp_path / "a.png", tmp_path / "b/1.jpg"]
    assert notes == []
    assert found("a.png", "b", "*.png", "**/*.jpg") == [
        ("a.png", "a.png"), ("b/1.jpg", "1.jpg"), ("b/2.png", "2.png"), ("a.png", "a.png"), ("b/1.jpg", "1.jpg"),
    ]  # fmt: skip
    assert found("d", "d/**/f/*") == [("d/e/1.png", "e/1.png"), ("d/f/1.png", "f/1.png"), ("d/f/1.png", "1.png")]
    assert found("b", endings=(".jpg", ".txt")) == [("b/1.jpg", "1.jpg"), ("b/notes.txt", "notes.txt")]
    notes.pop()
    assert notes == [f"note: 1 file in {tmp_path / 'b'} passed over: 1 .txt"]
    assert found("c.npy") == [("c.npy", "c.npy")]  # who names a file means it
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/more.md").touch()
    with pytest.raises(UserError, match=r"below .*texts; note: 1 file in .*texts passed over: 1 \.md$"):
        found("b", "texts")
    for word in ("empty", "none.png", "*.gif"):
        with pytest.raises(UserError, match="there is no picture"):
            found("a.png", word)


def test_a_model_of_bands_looks_for_files_of_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def listed(words: Any, notes: Any, endings: Any) -> Any:
        asked.append(endings)
        raise UserError("enough")

    monkeypatch.setattr(predict, "listed", listed)
    for channels in (3, 5):
        checkpoint = Checkpoint({}, {"config": {"data": {"channels": channels}}}, "", Path("a.pt"))
        monkeypatch.setattr(predict, "read_checkpoint", lambda *_, checkpoint=checkpoint, **__: checkpoint)
        with pytest.raises(UserError, match="enough"):
            predict.predict("a.pt", ["x"], Options(tmp_path / "out"))
    assert asked == [endings_of(3), endings_of(5)]
    assert asked[0] != asked[1]


@pytest.mark.parametrize(("batch", "groups"), [(1, [1, 1, 1]), (2, [2, 1]), (3, [3])])
def test_pictures_are_looked_at_in_batches_to_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, groups: list[int]
) -> None:
    for name in "abc":
        Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / f"{name}.png")
    model: Any = Ramp()
    model.answers, model.encoder.in_chans = "images", 3
    monkeypatch.setattr(predict.entry, "model_from", lambda checkpoint: model)
    monkeypatch.setattr(predict, "read_checkpoint", lambda *_, **__: CHECKPOINT)
    entered: list[Any] = []
    computing = predict.computing
    monkeypatch.setattr(predict, "computing", lambda *told: (entered.append(told), computing(*told))[1])
    options = Options(tmp_path / "out", batch=batch, device="cpu", precision="bf16")
    found = predict.predict("a.pt", [str(tmp_path)], options)
    assert [len(images) for images in model.seen] == groups
    assert [file.name for file in found.written] == ["a.json", "b.json", "c.json"]
    assert entered == [("bf16", "cpu")]
    for name in ("inference", "probabilities", "as_stored", "mask_ratios", "seeds"):
        value: Any = {"inference": "slide", "mask_ratios": (0.5,), "seeds": (1,)}.get(name, True)
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} is of a .* and a.pt holds a classifier"):
            predict.predict("a.pt", [str(tmp_path)], Options(tmp_path / "out", **{name: value}))
    model.answers = "mine"
    with pytest.raises(UserError, match=r"a\.pt holds a Ramp, which declares no answers"):
        predict.predict("a.pt", [str(tmp_path)], options)


def test_an_option_of_another_kind_of_model_is_named_with_its_owner(tmp_path: Path) -> None:
    model: Any = SimpleNamespace()
    for name, value in (("inference", "slide"), ("as_stored", True), ("probabilities", True)):
        said = f"--{name.replace('_', '-')} is of a segmentation model, and run holds a masked"
        with pytest.raises(UserError, match=said):
            Reconstructions(model, Path("run"), Options(tmp_path, **{name: value}), CHECKPOINT)


def test_maps_have_the_numbers_and_colours_that_stand_for_each_class(tmp_path: Path) -> None:
    palette = np.array([[1, 0, 0], [2, 0, 0], [3, 0, 0]], np.uint8)
    data = {"reduce_zero_label": True, "ignore_index": 255}
    checkpoint = Checkpoint({}, {"config": {"data": data}}, "", Path("a.pt"))
    made = LabelFiles(checkpoint, ("a", "b", "c"), palette, as_stored=True)
    assert made.stored.tolist() == [1, 2, 3]
    picture = made.picture(np.array([[0, 2]]))
    assert np.asarray(picture).tolist() == [[1, 3]]
    assert np.asarray(picture.convert("RGB"))[0, :, 0].tolist() == [1, 3]
    for count, mode in ((256, "P"), (257, "I;16")):
        many = LabelFiles(checkpoint, ["c"] * count, np.zeros((count, 3), np.uint8), as_stored=False)
        drawn = many.picture(np.array([[count - 1, 0]]))
        assert (drawn.mode, np.asarray(drawn).tolist()) == (mode, [[count - 1, 0]])
    made.check(tmp_path)
    made.write_table(tmp_path, SimpleNamespace(claim=lambda file: file))  # type: ignore[arg-type]
    made.check(tmp_path)
    table = {"names": ["a", "b", "c"], "palette": palette.tolist(), "stored": [1, 2, 3]}
    assert json.loads((tmp_path / "classes.json").read_text()) == table
    other = LabelFiles(checkpoint, ("a", "b", "x"), palette, as_stored=True)  # of as many letters
    with pytest.raises(UserError, match=r"classes\.json tells of other classes or other numbers"):
        other.check(tmp_path)
    spans = [((300, 400), 1), ((10, 20), 1), ((5, 5), 0)]
    assert all(predict_labels._of_spans(each, 2).tolist() == [5, 10] for each in (spans, spans[::-1]))
    with pytest.raises(ValueError, match="no stored value means class 1"):
        predict_labels._of_spans([((5, 5), 0)], 2)


def test_stored_numbers_are_those_that_the_data_set_has_for_each_class() -> None:
    def stored(**data: Any) -> list[int]:
        checkpoint = Checkpoint({}, {"config": {"data": data}}, "", Path("a.pt"))
        return LabelFiles(checkpoint, ("a", "b"), np.zeros((2, 3), np.uint8), as_stored=True).stored.tolist()

    assert stored() == [0, 1]
    assert stored(values={7: "a", 4: "b"}) == [7, 4]
    assert stored(values={"0": "a", "3-5": "b"}, ignore_values=[3]) == [0, 4]
    assert stored(values={"0": "b", "1000-1005": "a", "900": "a"}) == [900, 0]
    assert stored(reduce_zero_label=True, ignore_index=7) == [1, 2]
    wrong = ({"values": {7: "a"}}, {"ignore_values": [1]}, {"ignore_index": 256})  # a class has no number, or none is
    for data, said in (({"colours": {"a": [1, 2, 3]}}, "stores colors"), *((each, "leave it out") for each in wrong)):
        with pytest.raises(UserError, match=f"--as-stored: .*{said}"):
            stored(**data)
    with pytest.raises(UserError, match=r"--as-stored: a\.pt does not tell how"):
        LabelFiles(CHECKPOINT, ("a",), np.zeros((1, 3), np.uint8), as_stored=True)


def test_bands_are_numbers_from_one_and_a_model_that_says_nothing_sees_colors() -> None:
    def wanted(**data: Any) -> Any:
        return wanted_channels(Checkpoint({}, {"config": {"data": data}}, "", Path("a.pt")))

    told = [{"bands": [4, 1], "channels": 2}, {"bands": [1, 0], "channels": 2}, {"bands": [1, True], "channels": 2}]
    told += [{"bands": [1, "a"], "channels": 5}, {"bands": [], "channels": 4}, {"channels": "4"}, {}]
    assert [wanted(**data) for data in told] == [(4, 1), 2, 2, 5, 4, 3, 3]
    assert wanted_channels(CHECKPOINT) == 3


def test_a_palette_of_another_number_of_classes_is_not_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(
        notes=["of the record"], changes=lambda: {"a": "b (training: c)", "d": "e"}, origin=lambda part: f"of {part}",
        config=SimpleNamespace(inference="node"), record=None,
    )  # fmt: skip
    asked: list[Any] = []
    monkeypatch.setattr(predict_maps, "recorded", lambda checkpoint, *told: asked.append(told) or found)
    monkeypatch.setattr(
        predict_maps, "build",
        lambda *told, origin: asked.append((*told, origin)) or SimpleNamespace(predict=None, short=9),
    )  # fmt: skip
    model: Any = SimpleNamespace(num_classes=2)
    for words, chosen in (({}, "slide"), ({"inference": "whole"}, "whole")):
        made = Segmentations(model, CHECKPOINT, "a.pt", Options(tmp_path, **words))  # type: ignore[arg-type]
        assert made.notes == ["of the record", "a is b (training: c)", "d is e"]
        assert asked == [([f"inference={chosen}"], ("inference",)), ("node", "inference", "of inference")]
        asked.clear()
    for name in ("mask_ratios", "seeds"):
        with pytest.raises(
            UserError, match=f"--{name.replace('_', '-')} is of a masked autoencoder, and a.pt holds a seg"
        ):
            Segmentations(model, CHECKPOINT, "a.pt", Options(tmp_path, **{name: (1,)}))  # type: ignore[arg-type]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/classes.json").write_text("{}")
    with pytest.raises(UserError, match="tells of other classes"):
        Segmentations(model, CHECKPOINT, "a.pt", Options(tmp_path))
    Segmentations(model, CHECKPOINT, "a.pt", Options(tmp_path, overwrite=True))
    (tmp_path / "labels/classes.json").unlink()
    monkeypatch.setattr(predict_maps.rasters, "opened", lambda file: nullcontext(file and "raster"))
    monkeypatch.setattr(predict_maps.rasters, "is_large", lambda raster: True)
    large = Segmentations(model, CHECKPOINT, "a.pt", Options(tmp_path))
    large.look_at([(Path("x.tif"), "x")])
    assert large.notes[3:] == ["note: rasters that are not read whole are looked at in pixels of their own"]
    large.inference.short = None
    large.look_at([(Path("x.tif"), "x")])
    assert len(large.notes) == 4
    monkeypatch.setattr(predict_maps, "build", lambda *_, **__: SimpleNamespace())
    with pytest.raises(UserError, match="takes --inference slide, whole or multiscale_flip, got reconstruct"):
        Segmentations(model, CHECKPOINT, "a.pt", Options(tmp_path))
    monkeypatch.setattr(predict_maps, "build", lambda *_, **__: SimpleNamespace(predict=None))
    for palette, taken in (([[9, 8, 7], [1, 2, 3]], True), ([[9, 8, 7]] * 3, False), (None, False)):
        checkpoint = Checkpoint({}, {"palette": palette}, "", Path("a.pt"))
        made = Segmentations(model, checkpoint, "a.pt", Options(tmp_path))
        assert (made.palette.tolist() == palette, len(made.palette)) == (taken, 2)


def test_bands_that_are_shown_are_channels_of_the_picture() -> None:
    def shown(**data: Any) -> tuple[int, ...]:
        return shown_of(Checkpoint({}, {"config": {"data": data}}, "", Path("a.pt")))

    assert shown(channels=4, bands=[8, 4, 3, 2], shown_bands=[4, 3, 2]) == (1, 2, 3)
    assert shown(channels=4, shown_bands=[4, 3, 2]) == (3, 2, 1)
    assert shown(channels=3) == ()


def test_a_picture_of_which_a_file_is_missing_is_predicted_again(tmp_path: Path) -> None:
    writer = SimpleNamespace(files=lambda name: [tmp_path / f"{name}.png", tmp_path / f"{name}.npz"])
    for name in ("a.png", "a.npz", "b.png"):
        (tmp_path / name).touch()
    pictures = [(Path(f"{name}.jpg"), name) for name in "abc"]
    options = Options(tmp_path, skip_existing=True)
    assert [name for _, name in predict._missing(writer, pictures, options)] == ["b", "c"]
    with pytest.raises(UserError, match=r"a\.png is there already"):
        predict._missing(writer, pictures, Options(tmp_path))
    assert predict._missing(writer, pictures[2:], Options(tmp_path)) == pictures[2:]
    with pytest.raises(UserError, match=r"b\.png"):  # and nobody else's is replaced
        predict._missing(writer, [pictures[2], pictures[1]], Options(tmp_path, overwrite=True))


@pytest.mark.parametrize(
    ("data", "channels", "seen"),
    [
        ({"bands": [3, 2, 1]}, 3, [30, 20, 10]), ({"bands": [2, 1, 3]}, 3, [20, 10, 30]), ({}, 3, [10, 20, 30]),
        ({"channels": 3}, 1, [18]),  # the model counts, 0.299*10 + 0.587*20 + 0.114*30 the luma (ITU-R 601)
    ],
)  # fmt: skip
def test_bands_come_as_in_training_and_pictures_that_fail_or_are_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any], channels: int, seen: list[int]
) -> None:
    for name in ("a", "c", "d", "e"):
        Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    for name in ("c", "d", "e"):
        (tmp_path / "out/classes").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"out/classes/{name}.json").touch()
    model: Any = Ramp()
    model.answers, model.encoder.in_chans = "images", channels
    monkeypatch.setattr(predict.entry, "model_from", lambda checkpoint: model)
    checkpoint = Checkpoint({}, {"config": {"data": data}}, "", Path("a.pt"))
    monkeypatch.setattr(predict, "read_checkpoint", lambda *_, **__: checkpoint)
    options = Options(tmp_path / "out", skip_existing=True, device="cpu")
    found = predict.predict("a.pt", [str(tmp_path / f"{name}.png") for name in "abcde"], options)
    assert [image[:, 0, 0].tolist() for batch in model.seen for image in batch] == [seen]
    assert (found.written, found.skipped) == ([tmp_path / "out/classes/a.json"], 3)
    assert [file for file, _ in found.failed] == [tmp_path / "b.png"]


def test_maps_are_written_with_what_was_found_of_each_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        predict_maps, "sheet", lambda rows, **told: drawn.append((rows, told)) or np.zeros((1, 1, 3), np.uint8)
    )
    monkeypatch.setattr(predict_maps, "CELL", 80)
    claimed: list[Path] = []
    writer: Any = Segmentations.__new__(Segmentations)
    palette = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    writer.model, writer.shown, writer._large, writer._placed = SimpleNamespace(num_classes=3), (2, 1, 0), {}, {}
    writer.class_names, writer.palette = ("a", "b", "c"), palette
    writer.labels = LabelFiles(CHECKPOINT, writer.class_names, palette, as_stored=False)
    writer.owned = SimpleNamespace(claim=lambda file: claimed.append(file) or file)
    writer.options = Options(tmp_path)
    writer.inference = SimpleNamespace(predict=lambda model, images: [image[0] % 3 for image in images])
    assert writer.write([], []) == []
    assert claimed == []
    pictures = [
        torch.arange(3 * 1200, dtype=torch.uint8).view(3, 30, 40),
        torch.full((3, 4, 4), 4, dtype=torch.uint8),
    ]
    pictures[1][0] = torch.tensor([3, 3, 5, 5])  # classes 0 and 2 side by side
    files = writer.write(pictures, ["x", "y"])
    out = {name: [tmp_path / f"labels/{name}.png", tmp_path / f"overlays/{name}.png"] for name in "xy"}
    assert files == [*out["x"], *out["y"]]
    assert claimed == [tmp_path / "labels/classes.json", *files]
    for name, picture in zip("xy", pictures, strict=True):
        with Image.open(tmp_path / f"labels/{name}.png") as found:
            assert np.array_equal(np.asarray(found), picture[0] % 3)
    assert [[entry.name for entry in told["legend"]] for _, told in drawn] == [["a", "b", "c"], ["a", "c"]]
    assert [(told["columns"], told["title"], told["cell"]) for _, told in drawn] == [
        (["image", "prediction"], name, 80) for name in "xy"
    ]
    [[shown, over]] = drawn[1][0]
    assert shown.shape == over.shape == (80, 80, 3)
    for half, number, last in ((slice(3, 37), 0, 3), (slice(43, -3), 2, 5)):
        assert np.abs(shown[3:-3, half] - np.array([4, 4, last])).max() <= 1
        assert np.abs(over[3:-3, half] - (0.6 * palette[number] + 0.4 * 4)).max() <= 2
    [[shown, over]] = drawn[0][0]
    assert np.abs(shown[0, 0].astype(int) - np.array([96, 176, 0])).max() < 40  # the last channel is red
    writer.options = Options(tmp_path, probabilities=True)
    writer._probabilities = lambda image: (image[0].numpy() % 3, image.numpy(), image.numpy() / np.float16(2))
    files = writer.write(pictures[1:], ["y"])
    assert files == [*out["y"], tmp_path / "probabilities/y.npz"] == writer.files("y")
    with np.load(files[-1]) as kept:
        assert {name: value.flat[0] for name, value in kept.items()} == {"classes": 3, "probabilities": 1.5}
    writer._placed["z"], writer._large["w"] = Path("z.tif"), Path("w.tif")
    assert [[file.suffix for file in writer.files(name)] for name in "zw"] == [
        [".png", ".tif", ".png", ".npz"], [".tif", ".png", ".npz"],
    ]  # fmt: skip


def test_what_a_person_should_know_is_said_before_the_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png", "c.png", "notes.txt", "out/classes/b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    model: Any = Ramp()
    model.answers, model.encoder.in_chans = "images", 3
    settled: list[Any] = []
    noted: list[Any] = []
    read: list[Any] = []

    def settle(told: Any, channels: Any, root: Path, files: list[str], **more: Any) -> Any:
        settled.append((channels, [Path(file).name for file in files]))
        return SimpleNamespace(pixel_range="range", notes=["of the range"])

    for name, stub in {
        "read_checkpoint": lambda path, **told: read.append((path, told)) or CHECKPOINT, "settle_files": settle,
        "note_of": lambda *told: noted.append((*told[:4], len(list(told[4])))) or ["of the precision"],
        "read_image": lambda file, *told: read.append((file.name, *told)) or torch.zeros(3, 8, 8, dtype=torch.uint8),
    }.items():  # fmt: skip
        monkeypatch.setattr(predict, name, stub)
    monkeypatch.setattr(predict.entry, "model_from", lambda checkpoint: model)
    monkeypatch.setattr(Classes, "notes", ("of the classes",))
    options = Options(tmp_path / "out", skip_existing=True, device="cpu", precision="fp32")
    found = predict.predict("run", [str(tmp_path)], options)
    assert capsys.readouterr().out.splitlines() == [
        f"note: 2 files in {tmp_path} passed over: 1 .txt, 1 .json", "of the precision", "of the classes",
        "of the range",
    ]  # fmt: skip
    assert read == [("run", {"prefer": "best", "download": True}), ("a.png", 3, "range"), ("c.png", 3, "range")]
    assert settled == [(3, ["a.png", "b.png", "c.png"])]  # of all, so that it is the same when it goes on
    [*told, weights] = noted[0]
    assert (len(noted), told, weights) == (1, ["fp32", "fp32", "cpu", "--precision "], 0)  # of a model without any
    assert (len(found.written), found.skipped) == (2, 1)

    def full(*told: Any) -> Any:
        raise predict.Unwritable("no room")

    monkeypatch.setattr(predict, "read_image", full)  # as a map of a raster is written
    with pytest.raises(predict.Unwritable):
        predict.predict("run", [str(tmp_path)], Options(tmp_path / "other", device="cpu"))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="may not be written to; give another folder with --out"):
        predict.predict("run", [str(tmp_path)], options)


def test_a_device_is_that_of_the_machine_unless_another_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((True, ["cuda", "cpu", "cuda"]), (False, ["cpu", "cpu"])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert [predict._device(name).type for name in ("auto", "cpu", "cuda")[: 2 + there]] == expected
    with pytest.raises(UserError, match="torch finds no CUDA device; use --device cpu or auto"):
        predict._device("cuda")


def test_a_raster_that_is_too_large_to_be_read_is_handed_on_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / name)
    done: list[Any] = []

    class Writer:
        notes = ()

        def __init__(self, model: Any, checkpoint: Any, path: Any, options: Any) -> None:
            done.append((path, options.batch))

        def look_at(self, pictures: Any) -> dict[str, Path]:
            return {name: file for file, name in pictures if name == "b"}

        def files(self, name: str) -> list[Path]:
            return []

        def write(self, images: Any, names: list[str]) -> list[Path]:
            done.append(names)
            return [Path(name) for name in names]

        def write_large(self, file: Path, name: str, channels: Any, pixel_range: Any) -> list[Path]:
            done.append((file.name, name, channels, pixel_range))
            return [Path("large")]

    model: Any = Ramp()
    model.answers, model.encoder.in_chans = "pixels", 3
    settled: list[list[str]] = []
    monkeypatch.setattr(predict, "Segmentations", Writer)
    monkeypatch.setattr(predict.entry, "model_from", lambda checkpoint: model)
    monkeypatch.setattr(predict, "read_checkpoint", lambda *_, **__: CHECKPOINT)
    monkeypatch.setattr(
        predict, "settle_files",
        lambda told, channels, root, files, **_: settled.append([Path(file).name for file in files])
        or SimpleNamespace(pixel_range=None, notes=[]),
    )  # fmt: skip
    found = predict.predict("run", [str(tmp_path)], Options(tmp_path / "out", batch=3, device="cpu"))
    assert done == [("run", 3), ("b.png", "b", 3, None), ["a", "c"]]
    assert found == predict.Outcome([Path("large"), Path("a"), Path("c")], [], 0)
    assert settled == [["a.png", "c.png"]]  # a large one is not read whole for that either
