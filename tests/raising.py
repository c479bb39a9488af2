"""What stands for a part that fails."""

from collections.abc import Callable
from typing import Any, NoReturn


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises `error`, whatever it is given."""

    def fail(*given: Any, **named: Any) -> NoReturn:
        raise error

    return fail
