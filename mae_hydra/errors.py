"""What went wrong, for the person at the keyboard."""


class UserError(Exception):
    """One clear sentence: what was wrong, what came, and the way out.

    Commands print it without a traceback and end with a non-zero exit code. Everything else that is raised is a
    defect of the program and keeps its traceback.
    """
