"""`scenes`: an embedded, procedural data set of small landscapes and streets with dense labels, or a class each.

Every image and its labels are a pure function of (seed, split, index, image size), so there is nothing to download and
nothing to store. The classes of pixels follow from material, layout and context, not from colour: season, time of day,
haze and camera change the colours of everything. The class of a whole scene is the ground before the viewer, and
whether a road crosses it.
"""

from random import Random
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mae_hydra.data.dataset import ImageData, Sample, Target, height_width
from mae_hydra.data.labels.palette import distinct_colours
from mae_hydra.data.scenes.canvas import IGNORE, Canvas
from mae_hydra.data.scenes.layout import (
    FIELD,
    GRASS,
    ROAD,
    SAND,
    WATER,
    Road,
    paint_clouds,
    paint_forest,
    paint_ground,
    paint_mountains,
    paint_road,
    paint_sky,
)
from mae_hydra.data.scenes.light import draw_light, photograph
from mae_hydra.data.scenes.objects import paint_building, paint_rock, paint_tree, paint_vehicle
from mae_hydra.data.scenes.shared_records import SharedRecords
from mae_hydra.data.settings import Settings, data_factory
from mae_hydra.seeds import fold

Split = Literal["train", "validation"]
SMALLEST = 32
CACHE_BYTES = 256 * 2**20

CLASS_NAMES = (
    "sky", "cloud", "mountain", "tree", "water", "grass", "field", "sand", "road", "building", "rock", "vehicle",
)  # fmt: skip
PALETTE: NDArray[np.uint8] = np.array(
    [
        (142, 202, 230), (241, 243, 245), (141, 127, 168), (40, 128, 80), (42, 111, 187), (143, 201, 58),
        (224, 177, 60), (242, 217, 160), (108, 117, 125), (193, 85, 77), (165, 138, 111), (229, 56, 139),
    ],
    np.uint8,
)  # fmt: skip


PLACES = ((WATER, False), *((ground, road) for road in (False, True) for ground in (GRASS, FIELD, SAND)))
"""(the ground before the viewer, whether there is a road); a land with water has none."""
PLACE_NAMES = tuple(CLASS_NAMES[ground] + (" with road" if road else "") for ground, road in PLACES)


class Scene(NamedTuple):
    """`image`: uint8 (3, H, W). `labels`: uint8 (H, W), 255 where the class is uncertain. `place`: one of PLACES."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    place: int


def render(seed: int, split: Split, index: int, size: tuple[int, int]) -> Scene:
    """One scene."""
    rng = Random(fold(seed, "scenes", split, index))
    canvas = Canvas(size, rng, draw_light(rng))
    canvas.horizon = rng.uniform(0.3, 0.56)
    paint_sky(canvas)
    paint_clouds(canvas)
    paint_mountains(canvas)
    paint_forest(canvas)
    land = paint_ground(canvas)
    road = paint_road(canvas) if WATER not in land else None
    paint_objects(canvas, land, road)
    whole = (slice(0, size[0]), slice(0, size[1]))
    return Scene(
        photograph(rng, canvas.colour, canvas.cut("white", whole)),
        canvas.labels,
        PLACES.index((land[-1], road is not None)),
    )


def paint_objects(canvas: Canvas, land: tuple[int, ...], road: Road | None) -> None:
    """Objects from far to near, each where it belongs: vehicles on the road, nothing but rocks in the water."""
    rng, h = canvas.rng, canvas.horizon
    town = rng.random() < 0.55
    count = rng.randint(3, 7)
    for t in sorted(rng.uniform(0.02, 0.95) ** 1.2 for _ in range(count)):
        base = h + (1 - h) * t
        size = (0.2 + 0.48 * t) * rng.uniform(0.8, 1.3)
        x = canvas.aspect * rng.uniform(0.0, 1.0)
        row, column = min(int(base * canvas.height), canvas.height - 1), min(int(x * canvas.height), canvas.width - 1)
        under = int(canvas.labels[row, column])
        if road is not None and rng.random() < 0.35 and t > 0.12:
            x = road.middle(t) + rng.uniform(-0.4, 0.4) * road.half * t
            paint_vehicle(canvas, x, base, size * 0.85)
        elif under == ROAD:
            paint_vehicle(canvas, x, base, size * 0.85)
        elif under == WATER:
            if rng.random() < 0.6:
                paint_rock(canvas, x, base, size * 0.8)
        elif under == SAND:
            rng.choice((paint_rock, paint_rock, paint_tree, paint_building))(canvas, x, base, size)
        elif town:
            rng.choice((paint_building, paint_building, paint_tree, paint_vehicle, paint_vehicle))(
                canvas, x, base, size
            )
        else:
            rng.choice((paint_tree, paint_tree, paint_rock, paint_rock, paint_building))(canvas, x, base, size)


class Scenes:
    """The first `length` scenes of one split, rendered when first asked for; implements `ImageSet`.

    `target`: "map", or "class" for the scene's place. What has been rendered is kept, up to `CACHE_BYTES`, for this
    process and those forked from it: training reads small sets many times over, with several DataLoader workers, and
    each evaluation starts its own.
    """

    def __init__(
        self, *, seed: int, split: Split, length: int, image_size: tuple[int, int], target: Target = "map"
    ) -> None:
        self.seed, self.split, self.length, self.image_size, self.target = seed, split, length, image_size, target
        self._kept = SharedRecords(length, 4 * image_size[0] * image_size[1] + 1, CACHE_BYTES)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        record = self._kept.get(index)
        if record is None:
            image, labels, place = render(self.seed, self.split, index, self.image_size)
            record = bytearray(image.tobytes() + labels.tobytes() + bytes([place]))
            self._kept.put(index, record)
        pixels = torch.frombuffer(record, dtype=torch.uint8, count=len(record) - 1).view(4, *self.image_size)
        return Sample(pixels[:3], pixels[3] if self.target == "map" else record[-1], f"{self.split}-{index:06d}")


@data_factory
def scenes(settings: Settings, *, num_train: int, num_validation: int, seed: int, target: str = "map") -> ImageData:
    """The embedded scenes; `train_limit` as in `limited`. `target`: "map" (of pixels) or "class" (of whole scenes)."""
    if target not in ("map", "class"):
        raise ValueError(f"data.target must be map or class for scenes, got {target!r}")
    kind: Target = "map" if target == "map" else "class"
    names = CLASS_NAMES if kind == "map" else PLACE_NAMES
    size = height_width(settings.image_size)
    if min(size) < SMALLEST:
        raise ValueError(
            f"data.image_size must be at least {SMALLEST} x {SMALLEST} for scenes, got {size[0]} x {size[1]}"
        )
    for name, value, accepted in (
        ("channels", settings.channels, 3),
        ("num_classes", settings.num_classes, len(names)),
        ("ignore_index", settings.ignore_index, IGNORE),
    ):
        if value != accepted:
            raise ValueError(f"data.{name} must be {accepted} for scenes, got {value}")
    for name, count in (("num_train", num_train), ("num_validation", num_validation)):
        if count < 1:
            raise ValueError(f"data.{name} must be at least 1, got {count}")
    return settings.image_data(
        Scenes(seed=seed, split="train", length=num_train, image_size=size, target=kind),
        Scenes(seed=seed, split="validation", length=num_validation, image_size=size, target=kind),
        kind,
        class_names=names,
        palette=PALETTE if kind == "map" else distinct_colours(len(names)),
    )
