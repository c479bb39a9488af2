"""What went wrong, for the person at the keyboard."""


class UserError(Exception):
    """One clear sentence: what was wrong, what came, and the way out.

    Commands print it without a traceback and end with a non-zero exit code. Everything else that is raised is a
    defect of the program and keeps its traceback.
    """


def short(text: object, most: int = 120) -> str:
    """As much of a text from a file as a sentence can carry, in characters that a terminal only shows."""
    cut = str(text)[: most + 1]
    shown = "".join(letter if letter.isprintable() else "?" for letter in cut)
    return shown if len(cut) <= most else f"{shown[:most]}…"
