"""`--help` without waiting: Hydra copies all of its configuration sources for every group and option that it lists."""

from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl

COPYING = "_parse_overrides_and_create_caching_repo"  # Hydra's own; where it is called otherwise, help takes longer


def share_copies(loader: Any = ConfigLoaderImpl) -> None:
    """For this process, which lists groups and ends: the same question gets the same copy."""
    original = getattr(loader, COPYING, None)
    if original is None:
        return
    made: dict[tuple[Any, ...], Any] = {}

    def shared(self: Any, config_name: str | None, overrides: list[str]) -> Any:
        question = (id(self), config_name, tuple(overrides))
        if question not in made:
            made[question] = original(self, config_name, overrides)
        return made[question]

    setattr(loader, COPYING, shared)
