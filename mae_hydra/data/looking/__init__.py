"""Point at anything: what a folder, a tar or a list of pictures is, without a word of configuration."""

from pathlib import Path

from mae_hydra.data.looking.folders import SAMPLE, look_at_folder, pictures_in
from mae_hydra.data.looking.found import Found, Labels, Pairs, Part, Pixels, Split
from mae_hydra.data.looking.lists import ENDINGS, look_at_list
from mae_hydra.data.looking.tables import holds_tables, look_at_tables
from mae_hydra.data.looking.tars import look_at_tars, tars_in
from mae_hydra.data.looking.walk import walk
from mae_hydra.errors import UserError

__all__ = ["Found", "Labels", "Pairs", "Part", "Pixels", "Split", "look"]


def look(place: Path, sample: int = SAMPLE) -> Found:
    """What lies at `place`, of whose class maps about `sample` are read. UserError where nothing can be said of it."""
    if place.is_dir():
        walked = walk(place)
        if tars := tars_in(place, walked.files):
            return look_at_tars(place, tars)
        if holds_tables(walked.files):
            tables = look_at_tables(place)
            if tables.photos or not pictures_in(place, walked.files):
                return tables
        return look_at_folder(place, walked, sample)
    if holds_tables([place.name]):
        return look_at_tables(place)
    if place.name.lower().endswith(".tar"):
        return look_at_tars(place, [place])
    if place.name.lower().endswith(ENDINGS):
        return look_at_list(place)
    raise UserError(
        f"{place} is no folder, no tar (.tar), no table (.parquet) and no list ({' '.join(ENDINGS)}); give the "
        "folder in which it lies, or unpack it first"
    )
