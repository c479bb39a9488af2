"""Hydra's help asks the same question many times; it is answered once."""

from mae_hydra.launching.quick_help import COPYING, share_copies


def test_the_same_question_is_answered_once_and_another_one_anew() -> None:
    asked: list[tuple[str | None, list[str]]] = []

    class Loader:
        def _parse_overrides_and_create_caching_repo(self, name: str | None, overrides: list[str]) -> list[str]:
            asked.append((name, overrides))
            return [*overrides]

    share_copies(Loader)
    loader = Loader()
    first = loader._parse_overrides_and_create_caching_repo("config", ["a=1"])
    assert loader._parse_overrides_and_create_caching_repo("config", ["a=1"]) is first
    assert loader._parse_overrides_and_create_caching_repo("config", ["a=2"]) == ["a=2"]
    assert loader._parse_overrides_and_create_caching_repo(None, ["a=1"]) is not first
    assert len(asked) == 3


def test_it_is_hydras_function_and_where_it_is_gone_nothing_is_touched() -> None:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    assert hasattr(ConfigLoaderImpl, COPYING)

    class Other:
        pass

    share_copies(Other)
    assert not hasattr(Other, COPYING)
