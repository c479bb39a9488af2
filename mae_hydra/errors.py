"""What went wrong, for the person at the keyboard."""

import errno
import os
from pathlib import Path

from mae_hydra.names import clean

FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_OF_THE_PLACE = (*FULL, *_NO_FOLDER, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


class UserError(Exception):
    """One clear sentence: what was wrong, what came, and the way out.

    Commands print it without a traceback and end with a non-zero exit code. Everything else that is raised is a
    defect of the program and keeps its traceback.
    """


def unwritable(error: BaseException, way_out: str) -> str | None:
    """What to tell a person whose files cannot be written or read, with the `way_out`; None for any other error.

    The cause counts too: libraries wrap what the system said in errors of their own.
    """
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.errno in _OF_THE_PLACE):
        cause = cause.__cause__ or cause.__context__
    if not isinstance(cause, OSError):
        return None
    place = Path(os.fsdecode(cause.filename)) if isinstance(cause.filename, (str, bytes)) else None
    if place is not None and place.suffix == ".partial":  # a temporary name says nothing to a person
        place = place.parent
    if place is not None and place.exists() and not os.access(place, os.R_OK):
        return f"{place} may not be read ({cause.strerror})"
    first = "make room, or " if cause.errno in FULL else ""
    return f"cannot write {place or 'a file'}: {cause.strerror}; {first}{way_out}"


def short(text: object, most: int = 120) -> str:
    """As much of a text from a file as a sentence can carry, in characters that a terminal only shows."""
    cut = str(text)[: most + 1]
    return clean(cut) if len(cut) <= most else f"{clean(cut[:most])}…"
