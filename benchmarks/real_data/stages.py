"""The runs of docs/real-data.md, as the words that are typed for them.

Everything about the budgets stands here: two pre-trainings, and with each seed four trainings on CamVid and two
classifications.
"""

from dataclasses import dataclass
from pathlib import Path

PHOTOS, OWN, UNTRAINED = "photos64_mae", "camvid_mae", "_untrained"
STEPS = 240  # of eight crops
ARMS = {  # of CamVid: how it is called in tables, and the words that make it differ
    "scratch": "UPerNet, from scratch",
    "slow": "the same, a quarter of the rate",
    "own": "UPerNet, MAE on its frames",
    "photos": "UPerNet, MAE on photos",
    "unet": "U-Net, ResNet-18, from scratch",
}
CLASSIFIERS = {"scratch": "from scratch", "slow": "the same, a quarter of the rate", "photos": "MAE on the photos"}


@dataclass(frozen=True)
class Stage:
    """A training: its directory below the output, the words, and whether its test images are scored after it."""

    name: str
    words: tuple[str, ...]
    tested: bool = False


def pretrainings(camvid: Path, photos: Path) -> list[Stage]:
    """MAE on 64x64 photos, with what the features are worth for classes; MAE on CamVid's frames, likewise for maps.

    Each is followed by the same scores of the weights that it began with.
    """
    common = ("model=mae_vitt", "data.num_workers=0", "evaluation.validation.every=0.1")
    of_photos = (
        *common,
        f"name={PHOTOS}",
        *_photos(photos),
        "evaluation=pretrain_probe",
        "evaluation.validation.limit=512",
        "evaluation.probe.every=0.2",
        "evaluation.probe.bank=8000",
        "evaluation.probe.limit=null",
        "schedule.total=4000",
        "schedule.warmup=200",
    )
    of_frames = (
        *common,
        f"name={OWN}",
        "data=camvid",
        f"data.root={camvid}",
        "data.image_size=96",
        "augment.scale=[0.08,0.5]",  # 135 to 340 pixels of a frame of 480x360, as the crops of fine-tuning
        "evaluation=pretrain_dense_probe",
        "evaluation.probe.every=0.2",
        "evaluation.probe.bank=null",
        "evaluation.probe.limit=null",
        "schedule.total=800",
        "schedule.warmup=80",
    )
    found = []
    for name, words in ((PHOTOS, of_photos), (OWN, of_frames)):
        still = (f"name={name}{UNTRAINED}", "schedule.total=1", "schedule.warmup=0", "optimizer.lr=1e-12")
        replaced = {word.partition("=")[0] for word in still}
        kept = [word for word in words if word.partition("=")[0] not in replaced]
        found += [Stage(name, words), Stage(name + UNTRAINED, (*kept, *still))]
    return found


def segmentations(camvid: Path, out: Path, seed: int, steps: int = STEPS) -> list[Stage]:
    """CamVid with one seed and budget, from each start."""
    frames = (
        "data=camvid",
        f"data.root={camvid}",
        "data.image_size=[96,128]",
        "augment.short=192",
        "data.batch_size=8",
        "data.num_workers=0",
        "inference=slide",
        "inference.stride_ratio=1",  # four windows are the frame of 192x256
        f"schedule.total={steps}",
        f"schedule.warmup={steps // 10}",
        "evaluation.validation.every=0.5",
        f"seed={seed}",
    )
    starts = {
        "scratch": ("model=upernet_vitt", "optimizer.layer_decay=1"),  # there is nothing in the first blocks to be kept
        "slow": ("model=upernet_vitt", "optimizer.layer_decay=1", "optimizer.lr=5e-4"),  # is 2e-3 too fast for it?
        "own": ("model=upernet_vitt", f"init_from={out / OWN}"),
        "photos": ("model=upernet_vitt", f"init_from={out / PHOTOS}"),
        "unet": ("model=unet_resnet18",),
    }
    return [
        Stage(f"camvid/{steps}/{arm}-{seed}", (*words, *frames, f"name={arm}-{seed}"), True)
        for arm, words in starts.items()
    ]


def classifications(photos: Path, out: Path, seed: int) -> list[Stage]:
    """The classes of the photos with one seed, from each start."""
    classes = (
        "model=classifier_vitt",
        *_photos(photos),
        "data.batch_size=64",
        "data.num_workers=0",
        "schedule.total=400",
        "schedule.warmup=40",
        f"seed={seed}",
    )
    starts = {
        "scratch": ("optimizer.layer_decay=1",),
        "slow": ("optimizer.layer_decay=1", "optimizer.lr=1e-3"),
        "photos": (f"init_from={out / PHOTOS}",),
    }
    return [Stage(f"classes/{arm}-{seed}", (*classes, *words, f"name={arm}-{seed}")) for arm, words in starts.items()]


def _photos(photos: Path) -> tuple[str, ...]:
    return ("data=shards", f"data.root={photos}", "data.image_size=64", "data.num_classes=202")
