"""A look at the configurations of a sweep's jobs before the first of them starts."""

import sys
from collections.abc import Sequence
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from mae_hydra.configuration.check import check
from mae_hydra.configuration.whole_nodes import take_whole_nodes
from mae_hydra.errors import UserError
from mae_hydra.experiment.comparable import unlike
from mae_hydra.launching.importing import importing
from mae_hydra.launching.sweep_jobs import composed
from mae_hydra.terminal import watched

MOST = 64  # jobs that are composed: a tenth of a second each


def check_jobs(context: HydraContext | None, config: DictConfig | None, jobs: Sequence[Sequence[str]]) -> None:
    """Compose jobs and check what comes of it; UserError, or Hydra's own, of the first one that is wrong.

    Of more than MOST jobs those come first that bring a word which none before had: a value that is wrong by itself is
    wrong in every job. The rest show what is wrong in a combination when they start.
    """
    assert context is not None
    assert config is not None
    with importing():
        from rich.progress import track

        import mae_hydra.models  # noqa: F401  # which the check asks for
    seen: set[str] = set()
    bringing, others = list[Sequence[str]](), list[Sequence[str]]()
    for words in jobs:
        (others if seen.issuperset(words) else bringing).append(words)
        seen.update(words)
    looked_at = [*bringing, *others[: max(0, MOST - len(bringing))]]
    bar = track(looked_at, "looking at the jobs", transient=True, disable=not (watched() and len(looked_at) > MOST))
    if note := unlike(_check(context, config, list(words), len(jobs)) for words in bar):
        print(f"note: {note}", file=sys.stderr)


def _check(context: HydraContext, master: DictConfig, words: list[str], jobs: int) -> DictConfig:
    from mae_hydra.launching.stages import check_stages  # and torch, which showing a configuration does without

    composed_job, directory = composed(context, master, words, 0)
    job: Any = composed_job.copy()
    with open_dict(job):
        del job["hydra"]
    try:
        take_whole_nodes(job, words)
        check(job)
        plain: Any = OmegaConf.to_container(job.then, resolve=True)
        check_stages(plain, words, directory)
    except UserError as error:
        where = f" (in the job {' '.join(words)})" if jobs > 1 else ""
        raise UserError(f"{error}{where}; no job was started") from error
    return job
