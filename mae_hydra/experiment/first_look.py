"""Validation files, looked at before the first step by the main process, with a bar on a terminal."""

from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mae_hydra.data import ImageData
from mae_hydra.data.loading.look_ahead import Seen, look_ahead
from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.terminal import watched

MEMORY = ".looked_at"  # below the output root


def look_at_validation(data: ImageData, output_root: str) -> Seen | None:
    """Look at pictures of the validation set; a UserError, in every process, where a sample cannot be evaluated."""
    seen: Seen | None = None
    complaint = ""
    if is_main():
        columns = (TextColumn("looking at {task.description}"), BarColumn(30), MofNCompleteColumn())
        with Progress(*columns, transient=True, disable=not watched()) as bar:
            task = bar.add_task("validation files", total=len(data.validation))
            try:
                seen = look_ahead(
                    data.validation,
                    Path(output_root) / MEMORY,
                    lambda done, total, what: bar.update(task, completed=done, total=total, description=what),
                )
            except UserError as error:
                complaint = str(error)
    seen, complaint = broadcast_object((seen, complaint))
    if complaint:
        raise UserError(complaint)
    return seen


def unseen_note(seen: Seen | None, data: ImageData) -> list[str]:
    """One line where time did not allow to look at all class maps."""
    if seen is None or data.target != "map" or seen.num_labels >= seen.num_images:
        return []
    return [
        f"note: the values of {seen.num_labels} of {seen.num_images} validation maps have been looked at so far; "
        "mae-hydra check-data looks at all"
    ]
