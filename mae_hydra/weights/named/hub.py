"""The weights of a repository on the Hugging Face hub, by `huggingface_hub`: the safest file that there is, no program.

`HF_ENDPOINT`, `HF_HUB_OFFLINE` and the token of `hf auth login` mean what they mean to that library.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mae_hydra.errors import UserError, short, unwritable
from mae_hydra.terminal import watched
from mae_hydra.weights.named.address import Address, lies_within
from mae_hydra.weights.named.cache import WAY_OUT, Entry, check_room, digest_of
from mae_hydra.weights.named.web import Unreachable

INDEX = ".index.json"
USUAL = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
SAFE, OTHERS = (".safetensors",), (".pt", ".pth", ".bin")
CONFIG = "config.json"


class _File(NamedTuple):
    """`sha256`: "" where the hub does not tell it, as of small files."""

    size: int
    sha256: str


def main_file(names: Sequence[str], wanted: str = "") -> str | None:
    """Find the file of a repository that holds its weights, by the names; None where that cannot be told."""
    if wanted:
        return wanted if wanted in names else None
    usual = next((name for name in USUAL if name in names), None)
    if usual is not None:
        return usual
    for endings in (SAFE, OTHERS):
        matching = [name for name in names if name.endswith(endings)]
        if len(matching) == 1:
            return matching[0]
    return None


def download(address: Address, entry: Entry) -> None:
    """Have the weights of a repository in `entry`, with the config.json beside them.

    Unreachable where there is no connection; UserError where there is no such repository, or no weights in it.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        info = HfApi(endpoint=endpoint).model_info(address.where, revision=address.revision, files_metadata=True)
    except Exception as error:
        raise _explained(error, address) from error
    files = {sibling.rfilename: _of(sibling) for sibling in info.siblings or [] if lies_within(sibling.rfilename)}
    main = main_file(list(files), address.file)
    if main is None:
        raise UserError(_no_weights(address, list(files)))
    if address.sha256 and main.endswith(INDEX):
        raise UserError(f"{address.text} holds its weights in several files, and #sha256= is of one; leave it out")
    if not watched():
        disable_progress_bars()

    def get(name: str) -> Path:
        try:
            return Path(
                hf_hub_download(
                    address.where, name, revision=info.sha, local_dir=entry.partial, endpoint=endpoint, etag_timeout=30
                )
            )
        except Exception as error:
            raise _explained(error, address) from error

    folder = f"{main.rpartition('/')[0]}/".lstrip("/")
    names = [main, *([folder + CONFIG] if folder + CONFIG in files else [])]
    check_room(sum(files[name].size for name in names), entry.partial, address.text)
    if main.endswith(INDEX):
        parts = [folder + part for part in _parts(get(main), address)]
        if missing := [part for part in parts if part not in files]:
            raise UserError(f"{address.text} lists {short(missing[0])} in {main} and does not hold it")
        names += parts
        check_room(sum(files[name].size for name in names), entry.partial, address.text)
    digests: dict[str, str] = {}
    for name in names:
        digests[name] = digest_of(get(name))
        if files[name].sha256 not in ("", digests[name]):
            entry.drop()
            raise UserError(f"{name} of {address.text} has another sha256 than the hub says; nothing of it is kept")
        if name == main:
            check_digest(address, digests[name], entry)
    entry.keep(main, digests, {"address": address.text, "revision": info.sha})


def check_digest(address: Address, digest: str, entry: Entry) -> None:
    """UserError, and nothing is kept, where the address says another SHA-256."""
    if address.sha256 and digest != address.sha256:
        entry.drop()
        raise UserError(
            f"{address.text} has sha256 {digest}, and the address says {address.sha256}; nothing of it is kept"
        )


def _of(sibling: Any) -> _File:
    stored = sibling.lfs
    digest = stored.get("sha256") if isinstance(stored, dict) else getattr(stored, "sha256", None)
    return _File(sibling.size or 0, digest or "")


def _parts(index: Path, address: Address) -> list[str]:
    try:
        listed = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index.name} of {address.text} lists no parts") from error
    if not all(lies_within(name) and "/" not in name for name in listed):
        raise UserError(f"{index.name} of {address.text} names files elsewhere; it is not taken")
    return listed


def _no_weights(address: Address, names: Sequence[str]) -> str:
    if address.file:
        return f"{address.text} has no file {address.file}; it holds {', '.join(map(short, sorted(names)[:12]))}"
    candidates = [name for name in sorted(names) if name.endswith((*SAFE, *OTHERS))]
    if not candidates:
        return f"{address.text} holds no weights (.safetensors, .bin, .pt, .pth)"
    return (
        f"{address.text} holds several files of weights; add #file= and one of {', '.join(map(short, candidates[:12]))}"
    )


def _explained(error: Exception, address: Address) -> Exception:
    """What a failure of the library means to a person."""
    from huggingface_hub import errors

    if (sentence := unwritable(error, WAY_OUT)) is not None:
        return UserError(sentence)
    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{address.text} is for those who have agreed to its terms; do so on its page, then hf auth login"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"there is no repository {address.where} on the hub, or it is not yours to read (hf auth login)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{address.where} has no revision {address.revision}")
    if isinstance(error, errors.HfHubHTTPError) and getattr(error, "response", None) is not None:
        return UserError(f"{address.text} cannot be had: the hub says {short(str(error).splitlines()[0])}")
    return Unreachable(short(str(error).splitlines()[0] if str(error) else type(error).__name__))
