"""Weights & Biases. The library is imported when a run starts, and not before."""

import json
import logging
import os
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from mae_hydra.lines import of_a_step, read_lines
from mae_hydra.terminal import upload_line
from mae_hydra.tracking.offline_records import steps_in
from mae_hydra.types import Evaluation, Picture

log = logging.getLogger("mae_hydra")

FINISH = 300.0  # seconds in which the server must have taken the end of a run, or it is left for later
Mode = Literal["online", "offline", "disabled"]


class Wandb:
    """A W&B run for one run directory: `wandb_id.txt` in it makes a resumed training continue the same run.

    A training that starts at step 0 is a new run, even where an earlier one has left its id. W&B's own step is ours:
    curves, pictures and tables all stand against it, and the parts of an offline run follow each other, where a counter
    of W&B's would begin at 0 in each. The server takes nothing for a step that it has closed, so a step that is taken
    again after a crash is not there twice; and whatever there is to say of a step, the loop says in one start.

    `group`: the sweep, `job_type`: the task. `artifacts`: at the end of a run its last.pt and best.pt are uploaded as
    the artifact "run-<id>-model", and a run that began from another one's weights names that artifact as what it used.
    A server that cannot be reached costs `patience` seconds; the run is then kept offline. A run that fails raises an
    alert; one that was interrupted is told as preempted, so that an agent hands it out again. Offline, everything is
    written below the run directory and uploaded later by `wandb sync`; needs neither network nor account. What a killed
    part has not kept is sent by the next one, out of `metrics.jsonl`; its pictures and tables are lost.
    """

    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        mode: str,
        group: str | None,
        job_type: str | None,
        name: str | None,
        tags: Sequence[str],
        notes: str | None,
        artifacts: bool = False,
        patience: float = 30.0,
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        self.mode: Any = mode
        self.artifacts, self.patience = artifacts, patience
        self._labels: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "group": group,
            "job_type": job_type,
            "name": name,
            "tags": list(tags),
            "notes": notes,
        }
        self._run: Any = None

    def start(self, run_dir: str | Path, config: Mapping[str, Any], step: int) -> None:
        import wandb

        self._run_dir = Path(run_dir)
        self._earlier = sorted(self._run_dir.glob("wandb/*/run-*.wandb"))
        try:
            self._run = self._init(config, step)
        except (wandb.Error, OSError, TimeoutError) as error:
            if self.mode != "online":
                raise
            print(f"warning: {_why_offline(error)}; this run is kept offline", file=sys.stderr)
            log.warning("W&B cannot be reached", exc_info=True)
            wandb.teardown()
            self.mode = "offline"
            self._run = self._init(config, step)
        self._use_parent()
        self._run.define_metric("step")
        for prefix in ("train/*", "perf/*"):  # not "*": it would win over val/* and there would be no best values
            self._run.define_metric(prefix, step_metric="step")
        self._run.define_metric("val/*", step_metric="step", summary="min,max,last")
        self._send_what_is_lacking(step)
        if self.mode == "online":
            _say(f"W&B: {self._run.url}")

    def _send_what_is_lacking(self, step: int) -> None:
        """The lines of earlier parts, up to `step`, that W&B has not got: what it had not written when they ended."""
        rows = [row for row in read_lines(self._run_dir / "metrics.jsonl", of_a_step).rows if row["step"] <= step]
        if self.mode == "offline":
            sent = steps_in(self._earlier)
            lacking = [row for row in rows if row["step"] not in sent]
        else:
            lacking = [row for row in rows if row["step"] >= self._run.starting_step]  # what the server says
        for row in lacking if step else ():
            values = {name: value for name, value in row.items() if name != "step" and value is not None}
            self.scalars(row["step"], values)

    def _init(self, config: Mapping[str, Any], step: int) -> Any:
        import wandb

        bounded: dict[str, Any] = {"finish_timeout": FINISH, "finish_timeout_raises": True}
        return wandb.init(
            **self._labels,
            mode=self.mode,
            id=_run_id(self._run_dir, step),
            dir=str(self._run_dir),
            config=dict(config),
            resume="allow",
            reinit="finish_previous",  # a second job of this process gets a run of its own
            # `console` off: train.log has the output, and capturing it would disturb the progress line.
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=self.patience,
                **(bounded if "finish_timeout" in wandb.Settings.model_fields else {}),  # not of older versions
            ),
        )

    def _use_parent(self) -> None:
        """Tell whose weights this run began from, where they are those of a run that W&B knows."""
        parent = _parent(self._run_dir)
        if parent is None:
            return
        self._run.config.update({"parent": parent}, allow_val_change=True)
        id_file = Path(parent["path"]).parents[1] / "wandb_id.txt"
        if self.artifacts and self.mode == "online" and id_file.is_file():
            with suppress(Exception):  # it was not uploaded, or is in another project
                self._run.use_artifact(f"run-{id_file.read_text().strip()}-model:latest")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        # W&B merges what is logged at one step into one row.
        self._run.log({"step": step, **values}, step=step)

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        values: dict[str, Any] = {f"val/{scalar}": value for scalar, value in evaluation.scalars.items()}
        shown = {key: picture for key, picture in evaluation.pictures.items() if not picture.for_report}
        values |= {f"{name}/{key}": _image(picture) for key, picture in shown.items()}
        values |= {f"{name}/{key}": _table(rows) for key, rows in evaluation.tables.items()}
        self.scalars(step, values)

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        """End the run: as finished where `state` is "completed", as failed otherwise."""
        if self._run is None:
            return
        run, self._run = self._run, None
        run.summary["state"] = state
        # W&B's own best values are of the evaluations since this start only.
        run.summary.update(_extremes(self._run_dir / "metrics.jsonl"))
        directory = Path(run.dir).parent
        if state == "completed" and self.artifacts:
            _log_checkpoints(run, self._run_dir, summary)
        if state == "failed" and self.mode == "online":
            with suppress(Exception):  # the server may be what has failed
                run.alert(f"{self._labels['name']} failed", f"see {self._run_dir}/error.txt", wait_duration=0)
        if state == "interrupted":
            run.mark_preempting()
        try:
            run.finish(exit_code=0 if state == "completed" else 1)
        except TimeoutError:
            _say(f"warning: W&B has not taken the end of this run in {FINISH / 60:.0f} minutes; its files are kept")
            _say(f"to upload it later: wandb sync {shlex.quote(str(directory))}")
            return
        if self.mode == "offline":
            _say(f"to upload this run to W&B: {upload_line(self._run_dir)}")


def _why_offline(error: Exception) -> str:
    import wandb

    reason = (str(error) or type(error).__name__).strip().splitlines()[0]
    login = any(word in reason.lower() for word in ("api key", "login", "logged in"))
    if isinstance(error, wandb.errors.AuthenticationError) or (isinstance(error, wandb.errors.UsageError) and login):
        return f"not logged in to W&B ({reason.rstrip('.')}; or set WANDB_API_KEY)"
    return f"W&B cannot be reached ({reason})"


def _parent(run_dir: Path) -> dict[str, Any] | None:
    """What parent.json says: the file that the run began from, and its digest."""
    try:
        parent = json.loads((run_dir / "parent.json").read_bytes())
    except (OSError, ValueError, RecursionError):  # none, or somebody else's: nothing that could stop a training
        return None
    return parent if isinstance(parent, dict) else None


def _extremes(path: Path) -> dict[str, float]:
    """`min/val/mIoU` and `max/val/mIoU` of every score over a whole run, from its metrics.jsonl."""
    scores: dict[str, list[float]] = {}
    for row in read_lines(path, of_a_step).rows:
        for key, value in row.items():
            if key.startswith("val/") and value is not None:
                scores.setdefault(key, []).append(value)
    return {f"{f.__name__}/{key}": f(values) for key, values in scores.items() for f in (min, max)}


def _log_checkpoints(run: Any, run_dir: Path, summary: Mapping[str, Any]) -> None:
    import wandb

    scalars = {name: value for name, value in summary.items() if isinstance(value, (int, float))}
    artifact = wandb.Artifact(f"run-{run.id}-model", type="model", metadata=scalars)
    for name in ("last.pt", "best.pt"):
        if (run_dir / "checkpoints" / name).is_file():
            artifact.add_file(str(run_dir / "checkpoints" / name), name=name)
    for name in ("config.yaml", "results.json", "git.diff"):
        if (run_dir / name).is_file():
            artifact.add_file(str(run_dir / name), name=name)
    run.log_artifact(artifact)


def _say(line: str) -> None:
    print(line)
    log.info(line)


def _run_id(run_dir: Path, step: int) -> str:
    path = run_dir / "wandb_id.txt"
    follows_another = (run_dir.parent / "status.json").is_file()  # and is no run that an agent has made
    if "WANDB_SWEEP_ID" in os.environ and "WANDB_RUN_ID" in os.environ and not follows_another:
        path.write_text(os.environ["WANDB_RUN_ID"])  # the agent of a W&B sweep has made the run
        return path.read_text()
    if step == 0 or not path.exists():
        path.write_text(secrets.token_hex(4))
    return path.read_text().strip()


def _image(picture: Picture) -> Any:
    """Class maps become overlays that W&B draws over the picture and lets one switch on and off."""
    import wandb

    labels = dict(enumerate(picture.class_names))
    maps = {key: {"mask_data": values.astype("int32"), "class_labels": labels} for key, values in picture.maps.items()}
    return wandb.Image(picture.pixels, caption=picture.caption or None, masks=maps or None)


def _table(rows: list[dict[str, Any]]) -> Any:
    import wandb

    columns: list[Any] = list(dict.fromkeys(key for row in rows for key in row))
    return wandb.Table(columns=columns, data=[[row.get(column) for column in columns] for row in rows])
