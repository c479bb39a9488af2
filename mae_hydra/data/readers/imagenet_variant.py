"""`data=imagenet_variant`: other photos of ImageNet's classes, to evaluate on: ImageNet-A, -R, -Sketch, -C, -V2."""

from collections import Counter
from pathlib import Path

import numpy as np

from mae_hydra.data.dataset import ImageData
from mae_hydra.data.decoding.bands import endings_of
from mae_hydra.data.listing import existing_folder, find_images, passed_over_note
from mae_hydra.data.readers.folder import Photos
from mae_hydra.data.settings import FileSettings, data_factory
from mae_hydra.errors import UserError

_WANTED = "expected are class folders, <class>/*.jpg, or <corruption>/<severity>/<class>/*.JPEG as in ImageNet-C"


@data_factory
def imagenet_variant(settings: FileSettings, *, root: str | None, classes: str) -> ImageData:
    """Photos in folders of which the innermost is the class; a validation set, and nothing to train on.

    `classes`: what the model's classes are called, in their order: a text file with one name at the beginning of each
    line, or a folder of class folders (ImageNet's own train/ or val/). Where only some of them occur, a prediction is
    the best of those. What lies above the class's folder is the group that an image is counted in.
    """
    num_classes = settings.num_classes
    path = existing_folder(root, _WANTED)
    passed_over: Counter[str] = Counter()
    names = find_images(path, endings_of(settings.wanted), passed_over)
    if not names:
        raise UserError(f"there is no image in {path}; {_WANTED}")
    known = read_classes(classes)
    if len(known) != num_classes:
        raise UserError(f"{classes} names {len(known)} classes, data.num_classes is {num_classes}; they must agree")
    ids = {name: number for number, name in enumerate(known)}
    folders = [_class_of(name, path) for name in names]
    unknown = sorted(set(folders) - set(ids))
    if unknown:
        raise UserError(
            f"{path} holds {len(unknown)} class folders that {classes} does not name, {unknown[0]} for one; {_WANTED}"
        )
    class_ids = np.array([ids[folder] for folder in folders], dtype=np.int64)
    settled = settings.settled(path, names)
    present = tuple(int(each) for each in np.unique(class_ids))
    return settings.image_data(
        Photos(path, [], settings.wanted, class_ids[:0]),
        Photos(path, names, settings.wanted, class_ids, settled.pixel_range),
        "class",
        class_names=tuple(known),
        present_classes=present if len(present) < num_classes else None,
        grouped=any(name.count("/") > 1 for name in names),
        pixel_range=settled.pixel_range,
        notes=(*passed_over_note(root, passed_over), *settled.notes),
    )


def read_classes(where: str) -> list[str]:
    """Class names in the order of their ids, from a text file or from the sorted folders of a folder."""
    path = Path(where).expanduser()
    if path.is_dir():
        names = sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    elif path.is_file():
        names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    else:
        raise UserError(
            f"there is no data.classes={where}: give a text file with the name of a class folder in each line, in the "
            "order of the model's classes, or ImageNet's own train/ or val/"
        )
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{where} names the class {doubled[0]} more than once")
    return names


def _class_of(name: str, path: Path) -> str:
    folder = name.rpartition("/")[0].rpartition("/")[2]
    if not folder:
        raise UserError(f"{path / name} lies in no class folder; {_WANTED}")
    return folder
