"""Public segmentation sets in small, in their published names: pictures of noise, and class maps that are known.

What the files are called and what numbers or colours stand for a class is written down here once more, from the sets'
descriptions and not from conf/.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH, BLOCK = 48, 64, 16
IGNORED = 255  # in what is expected
Codes = Sequence[Any]  # by class: a stored value, or a colour


@dataclass(frozen=True)
class Published:
    """`files`: side -> (photo, class map). `stored`: by class. `ignored`: what is stored where nothing counts, which is
    `nothing` in what is expected. `form`: L, I;16, P, RGB (equal channels), colours or 1. `beside`: files that are
    there and must not be read as maps."""

    files: dict[str, Sequence[tuple[str, str]]]
    stored: Codes
    ignored: Codes = ()
    form: str = "L"
    beside: Sequence[str] = ()
    texts: dict[str, str] = field(default_factory=dict)
    nothing: int = IGNORED

    def write(self, root: Path, seed: int = 0) -> dict[str, list[np.ndarray]]:
        """The class maps of each side, uint8 (H, W), in the order of the photos' paths."""
        rng = np.random.default_rng(seed)
        expected: dict[str, list[np.ndarray]] = {}
        count = 0
        for side, files in self.files.items():
            expected[side] = []
            for image, labels in sorted(files):
                classes = self._classes(rng, count)
                count += 1
                _save(root / image, Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)))
                if labels:
                    _save(root / labels, self._map(classes))
                    kind = np.uint8 if len(self.stored) < IGNORED else np.uint16
                    expected[side].append(np.where(classes < len(self.stored), classes, self.nothing).astype(kind))
        for name in self.beside:
            _save(root / name, Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)))
        for name, text in self.texts.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return expected

    def _classes(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Blocks of classes, one after the other so that all occur in a few maps, and of what is ignored."""
        kinds = len(self.stored) + len(self.ignored)
        blocks = (HEIGHT // BLOCK, WIDTH // BLOCK)
        start = number * (blocks[0] * blocks[1] - 1)
        values = (start + np.arange(blocks[0] * blocks[1])) % kinds
        return np.kron(rng.permutation(values).reshape(blocks), np.ones((BLOCK, BLOCK), int))

    def _map(self, classes: np.ndarray) -> Image.Image:
        codes = np.array([*self.stored, *self.ignored])[classes]
        if self.form == "colours":
            return Image.fromarray(codes.astype(np.uint8))
        values = codes.astype(np.uint16 if self.form == "I;16" else np.uint8)
        if self.form == "RGB":
            return Image.fromarray(np.stack([values] * 3, axis=2))
        if self.form == "P":
            picture = Image.frombytes("P", (WIDTH, HEIGHT), values.tobytes())
            picture.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
            return picture
        if self.form == "1":
            return Image.fromarray(values).convert("1")
        return Image.fromarray(values)


def _save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower()
    picture.save(path, **({"quality": 95} if kind in (".jpg", ".jpeg") else {}))


def _each(names: Sequence[str], image: str, labels: str) -> list[tuple[str, str]]:
    return [(image.replace("#", name), labels.replace("#", name)) for name in names]


def _lines(names: Sequence[str], after: str = "") -> str:
    return "".join(f"{name}{after}\n" for name in names)


def _city(name: str) -> str:
    return f"{name}/{name}_000000_000019"


def number_of(name: str) -> int:
    return int(name.lstrip("abcdefghijklmnopqrstuvwxyz-"))


CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
ISPRS = [(255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)]
ISAID = [
    (0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63),
    (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255), (0, 100, 155),
]  # fmt: skip
COCO = [value for value in range(182) if value not in (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)]
VOC_TRAIN, VOC_AUG, VOC_VAL = ["2007_000032", "2007_000039"], ["2008_000002"], ["2007_000033"]
CONTEXT = "SegmentationClassContext/#.png"
PETS = {"trainval": [f"Abyssinian_{number}" for number in range(100, 120)], "test": ["Bengal_7", "pug_12"]}
TILES = {"train": ["M-33-20-D-c-4-2_0", "M-33-20-D-c-4-2_1"], "val": ["M-33-20-D-c-4-2_2"], "test": ["N-33-60-D_3"]}
TWENTY = [f"{number:02d}" for number in range(21, 41)]
KVASIR = [f"cju0qkwl35piu0993l0dewei{number}" for number in range(10)]
CHASE = [f"Image_{number:02d}{eye}" for number in range(1, 15) for eye in "LR"]
HRF = [f"{number:02d}_{group}" for group in ("h", "dr", "g") for number in range(1, 16)]
CITIES = ("austin", "chicago", "kitsap", "tyrol-w", "vienna")
INRIA = [f"{city}{number}" for city in CITIES for number in (*range(1, 7), 10, 36)]

POTSDAM_TRAIN = [
    *(f"{row}_{column}" for row in (2, 3, 4, 5) for column in (10, 11, 12)),
    *(f"{row}_{column}" for row in (6, 7) for column in range(7, 13)),
]
POTSDAM_VAL = ["2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13", "6_14", "6_15"]
POTSDAM_VAL += ["7_13"]
VAIHINGEN_TRAIN = [1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37]
VAIHINGEN_VAL = [2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38]

ADE20K_SIDES = [("train", "train", "training", 80), ("validation", "val", "validation", 3)]

SETS = {
    "ade20k_full": Published(
        {side: _each([f"ADE_{short}_{number:08d}" for number in range(1, count)],
                     f"images_detectron2/{folder}/#.jpg", f"annotations_detectron2/{folder}/#.tif")
         for side, short, folder, count in (ADE20K_SIDES)},
        range(847), [65535], "I;16", nothing=847,
    ),
    "cityscapes": Published(
        {
            "train": _each([f"train/{_city('aachen')}", f"train/{_city('ulm')}"],
                           "leftImg8bit/#_leftImg8bit.png", "gtFine/#_gtFine_labelIds.png"),
            "validation": _each([f"val/{_city('munster')}"],
                                "leftImg8bit/#_leftImg8bit.png", "gtFine/#_gtFine_labelIds.png"),
        },
        CITYSCAPES_IDS, [0, 1, 3, 6, 9, 10, 14, 16, 18, 29, 30],
        beside=[f"gtFine/train/{_city('ulm')}_gtFine_{kind}.png" for kind in ("labelTrainIds", "color")],
        texts={f"gtFine/train/{_city('ulm')}_gtFine_polygons.json": "{}"},
    ),
    "bdd100k": Published(
        {
            "train": _each(["train/0004a4c0-d4dff0ad", "train/00054602-3bf57337"],
                           "images/10k/#.jpg", "labels/sem_seg/masks/#.png"),
            "validation": _each(["val/7d06fefd-f7be05a6"], "images/10k/#.jpg", "labels/sem_seg/masks/#.png"),
        },
        range(19), [255], beside=["labels/sem_seg/colormaps/train/0004a4c0-d4dff0ad.png"],
    ),
    "dark_zurich": Published(
        {"validation": _each(["GOPR0356_frame_000321", "GOPR0356_frame_000322"],
                             "rgb_anon/val/night/GOPR0356/#_rgb_anon.png",
                             "gt/val/night/GOPR0356/#_gt_labelTrainIds.png")},
        range(19), [255], beside=["gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelIds.png"],
    ),
    "night_driving": Published(
        {"validation": _each(["0_r", "1_r"], "leftImg8bit/test/night/#_leftImg8bit.png",
                             "gtCoarse_daytime_trainvaltest/test/night/#_gtCoarse_labelTrainIds.png")},
        range(19), [255],
    ),
    "voc2012": Published(
        {
            "train": _each(VOC_TRAIN, "JPEGImages/#.jpg", "SegmentationClass/#.png"),
            "validation": _each(VOC_VAL, "JPEGImages/#.jpg", "SegmentationClass/#.png"),
        },
        range(21), [255], "P", beside=["JPEGImages/2007_000027.jpg"],
        texts={f"ImageSets/Segmentation/{name}.txt": _lines(stems)
               for name, stems in {"train": VOC_TRAIN, "val": VOC_VAL}.items()},
    ),
    "voc2012_aug": Published(
        {
            "train": [*_each(VOC_TRAIN, "JPEGImages/#.jpg", "SegmentationClass/#.png"),
                      *_each(VOC_AUG, "JPEGImages/#.jpg", "SegmentationClassAug/#.png")],
            "validation": _each(VOC_VAL, "JPEGImages/#.jpg", "SegmentationClass/#.png"),
        },
        range(21), [255], "P", beside=["SegmentationClassAug/2007_000033.png", "SegmentationClassAug/2007_000032.png"],
        texts={f"ImageSets/Segmentation/{name}.txt": _lines(stems)
               for name, stems in {"train": VOC_TRAIN, "aug": VOC_AUG, "val": VOC_VAL}.items()},
    ),
    "pascal_context": Published(
        {"train": _each(["2008_000008", "2008_000015"], "JPEGImages/#.jpg", CONTEXT),
         "validation": _each(["2008_000002"], "JPEGImages/#.jpg", CONTEXT)},
        range(60), beside=["JPEGImages/2010_000001.jpg"],
        texts={"ImageSets/SegmentationContext/train.txt": "2008_000008\n2008_000015\n",
               "ImageSets/SegmentationContext/val.txt": "2008_000002\n"},
    ),
    "pascal_context_59": Published(
        {"train": _each(["2008_000008", "2008_000015"], "JPEGImages/#.jpg", CONTEXT),
         "validation": _each(["2008_000002"], "JPEGImages/#.jpg", CONTEXT)},
        range(1, 60), [0],
        texts={"ImageSets/SegmentationContext/train.txt": "2008_000008\n2008_000015\n",
               "ImageSets/SegmentationContext/val.txt": "2008_000002\n"},
    ),
    "coco_stuff164k": Published(
        {side: _each([f"{folder}/{number:012d}" for number in numbers], "images/#.jpg", "annotations/#.png")
         for side, folder, numbers in (("train", "train2017", range(9, 24)), ("validation", "val2017", [139]))},
        COCO, [255], beside=["annotations/train2017/000000000009_labelTrainIds.png"],
    ),
    "camvid": Published(
        {side: _each(names, f"{folder}/#.png", f"{folder}annot/#.png")
         for side, folder, names in (("train", "train", ["0001TP_006690", "0006R0_f00930"]),
                                     ("validation", "val", ["0016E5_07959"]), ("test", "test", ["Seq05VD_f00000"]))},
        range(11), [11], texts={"train.txt": "/SegNet/CamVid/train/0001TP_006690.png x\n"},
    ),
    "mapillary": Published(
        {side: _each(names, f"{side}ing/images/#.jpg".replace("validationing", "validation"),
                     f"{side}ing/v1.2/labels/#.png".replace("validationing", "validation"))
         for side, names in (("train", ["aQ", "bR", "cS", "dT", "eU", "fV"]), ("validation", ["zX"]))},
        range(65), [65], "P", beside=["training/v2.0/labels/aQ.png", "training/v1.2/instances/aQ.png"],
    ),
    "mapillary_v2": Published(
        {side: _each(names, f"{side}ing/images/#.jpg".replace("validationing", "validation"),
                     f"{side}ing/v2.0/labels/#.png".replace("validationing", "validation"))
         for side, names in (("train", [f"a{n}" for n in range(12)]), ("validation", ["zX"]))},
        range(123), [123], "P",
    ),
    "loveda": Published(
        {side: [*_each(["0", "1"], f"{folder}/Rural/images_png/#.png", f"{folder}/Rural/masks_png/#.png"),
                *_each(["0"], f"{folder}/Urban/images_png/#.png", f"{folder}/Urban/masks_png/#.png")]
         for side, folder in (("train", "Train"), ("validation", "Val"))},
        range(1, 8), [0], beside=["Test/Urban/images_png/9.png"],
    ),
    "potsdam": Published(
        {side: _each([f"top_potsdam_{tile}" for tile in tiles], "2_Ortho_RGB/#_RGB.tif",
                     "5_Labels_all_noBoundary/#_label_noBoundary.tif")
         for side, tiles in (("train", POTSDAM_TRAIN), ("validation", POTSDAM_VAL))},
        ISPRS, [(0, 0, 0)], "colours", beside=["4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif"],
    ),
    "vaihingen": Published(
        {side: _each([f"top_mosaic_09cm_area{area}" for area in areas], "top/#.tif", "#_noBoundary.tif")
         for side, areas in (("train", VAIHINGEN_TRAIN), ("validation", VAIHINGEN_VAL))},
        ISPRS, [(0, 0, 0)], "colours", beside=["dsm/dsm_09cm_matching_area1.tif"],
    ),
    "isaid": Published(
        {side: _each(names, f"{folder}/images/#.png", f"{folder}/Semantic_masks/images/#_instance_color_RGB.png")
         for side, folder, names in (("train", "train", ["P0000", "P0001"]), ("validation", "val", ["P0003"]))},
        ISAID, (), "colours", beside=["train/Instance_masks/images/P0000_instance_id_RGB.png"],
    ),
    "deepglobe": Published(
        {"all": _each([str(100 + number) for number in range(10)], "train/#_sat.jpg", "train/#_mask.png")},
        [(1, 255, 254), (255, 250, 0), (255, 0, 255), (0, 255, 3), (0, 0, 255), (255, 255, 255)], [(0, 0, 0)],
        "colours", beside=["valid/7_sat.jpg"],
    ),
    "landcoverai": Published(
        {side: _each(TILES[name], "output/#.jpg", "output/#_m.png")
         for side, name in (("train", "train"), ("validation", "val"), ("test", "test"))},
        range(5), (), "RGB", beside=["output/unlisted_9.jpg"],
        texts={f"{name}.txt": _lines(tiles) for name, tiles in TILES.items()},
    ),
    "drive": Published(
        {"all": _each(TWENTY, "training/images/#_training.tif", "training/1st_manual/#_manual1.gif"),
         "test": _each(["01", "02"], "test/images/#_test.tif", "test/1st_manual/#_manual1.gif")},
        [0, 255], beside=["training/mask/21_training_mask.gif", "test/2nd_manual/01_manual2.gif"],
    ),
    "stare": Published(
        {"all": _each([f"im{number:04d}" for number in (1, 2, 3, 4, 5, 44)], "stare-images/#.ppm",
                      "labels-ah/#.ah.ppm")},
        [0, 255], beside=["labels-vk/im0001.vk.ppm"],
    ),
    "chase_db1": Published(
        {"train": _each(CHASE[:20], "#.jpg", "#_1stHO.png"), "validation": _each(CHASE[20:], "#.jpg", "#_1stHO.png")},
        [0, 255], (), "1", beside=[f"{name}_2ndHO.png" for name in CHASE],
    ),
    "hrf": Published(
        {side: [(f"images/{name}.{'JPG' if 'dr' in name else 'jpg'}", f"manual1/{name}.tif") for name in HRF
                if (int(name[:2]) <= 5) == (side == "train")] for side in ("train", "validation")},
        [0, 255], beside=["mask/01_h_mask.tif"],
    ),
    "refuge": Published(
        {side: _each(names, f"images/{folder}/#.png", f"annotations/{folder}/#.png")
         for side, folder, names in (("train", "training", ["g0001", "n0001"]), ("validation", "validation", ["V0001"]),
                                     ("test", "test", ["T0001"]))},
        range(3), (), "RGB",
    ),
    "kvasir": Published({"all": _each(KVASIR, "images/#.jpg", "masks/#.jpg")}, [0, 255], (), "RGB",
                        texts={"kavsir_bboxes.json": "{}"}),
    "oxford_pet": Published(
        {"all": _each(PETS["trainval"], "images/#.jpg", "annotations/trimaps/#.png"),
         "test": _each(PETS["test"], "images/#.jpg", "annotations/trimaps/#.png")},
        [1, 2, 3], beside=["images/unlisted_1.jpg"],
        texts={f"annotations/{name}.txt": _lines(stems, " 1 1 1") for name, stems in PETS.items()}
        | {"annotations/trimaps/._Bengal_7.png": "no picture", "images/Abyssinian_100.mat": ""},
    ),
    "nyu40": Published(
        {"all": _each([str(number) for number in range(10)], "RGB/#.jpg", "Label/#.png"),
         "test": _each(["10", "11"], "RGB/#.jpg", "Label/#.png")},
        range(1, 41), [0], texts={"train.txt": _lines([f"RGB/{n}.jpg Label/{n}.png" for n in range(10)]),
                                  "test.txt": _lines([f"RGB/{n}.jpg Label/{n}.png" for n in (10, 11)])},
    ),
    "lip": Published(
        {side: _each(names, f"{folder}_images/#.jpg", f"{folder}_segmentations/#.png")
         for side, folder, names in (("train", "train", ["10005_205796", "100_1"]), ("validation", "val", ["7_7"]))},
        range(20), beside=["testing_images/1.jpg"], texts={"train_id.txt": "10005_205796\n"},
    ),
    "inria": Published(
        {"train": _each([name for name in INRIA if number_of(name) > 5],
                        "train/images/#.tif", "train/gt/#.tif"),
         "validation": _each([name for name in INRIA if number_of(name) <= 5],
                             "train/images/#.tif", "train/gt/#.tif")},
        [0, 255], beside=["test/images/bellingham1.tif"],
    ),
}  # fmt: skip
