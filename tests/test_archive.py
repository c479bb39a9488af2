"""What is counted of a file of torch.save before it is believed: by hand, on both sides of each bound."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mae_hydra import archive
from mae_hydra.archive import SPARE, Unfit, check_file, check_tensors, named_tensors, read_training_state
from mae_hydra.errors import UserError

STATE = {"model": {"w": torch.zeros(2)}, "optimizer": {}, "step": 3}


def test_tensors_may_share_their_numbers_up_to_four_times_the_file_and_a_gigabyte() -> None:
    shared = torch.empty(2**20)  # 4 MiB
    fitting = SPARE // 2**22
    check_tensors(((str(n), shared) for n in range(fitting)), 0)
    with pytest.raises(Unfit, match="says that 256 has 1048576 values"):
        check_tensors(((str(n), shared) for n in range(fitting + 1)), 0)
    check_tensors(((str(n), shared) for n in range(fitting + 4)), 2**22)
    with pytest.raises(Unfit):
        check_tensors(((str(n), shared) for n in range(fitting + 5)), 2**22)


@pytest.mark.filterwarnings("ignore::UserWarning")  # kinds that torch warns of
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: torch.zeros(1).expand(2), "stores 4 bytes for it"),
        (lambda: torch.empty(2**40, 0), "it would fill the memory"),
        (lambda: torch.zeros(2).to_sparse(), "as a sparse tensor"),
        (lambda: torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8), "as a quantised tensor"),
        (lambda: torch.empty(2, device="meta"), "as a meta tensor"),
        (lambda: torch.zeros(2, dtype=torch.complex64), "as a complex64 tensor"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2)]), "as a nested tensor"),
    ],
)
def test_what_is_no_plain_array_is_refused_wherever_it_stands(made: Callable[[], torch.Tensor], said: str) -> None:
    with pytest.raises(Unfit, match=said):
        check_tensors([("a", torch.zeros(2)), ("b", made())], 100)


def test_every_tensor_is_found_once_with_where_it_lies() -> None:
    a, b, c = (torch.full((1,), float(n)) for n in range(3))
    inner = {"x": b}
    found = list(named_tensors({"a": a, "l": [inner, (c, 5)], "again": inner}))
    assert [name for name, _ in found] == ["a", "l.0.x", "l.1.0"]
    assert all(one is other for (_, one), other in zip(found, (a, b, c), strict=True))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_tuples_that_hold_one_another_are_counted_as_often_as_they_are_used(
    monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.setattr(archive, "MOST_VALUES", 500)

    def doubled(times: int, before: tuple = ()) -> bytes:
        value: tuple = ()
        for _ in range(times):
            value = (value, value)
        return pickle.dumps((before, value), protocol)

    many = tuple(f"name {n}" for n in range(300))  # behind which numbers of what is used again take four bytes
    archive._count(io.BytesIO(doubled(7)))  # 2^8 - 1 tuples
    with pytest.raises(Unfit, match="so often that reading it would never end"):
        archive._count(io.BytesIO(doubled(8)))
    monkeypatch.setattr(archive, "MOST_VALUES", 2000)
    archive._count(io.BytesIO(doubled(9, many)))
    with pytest.raises(Unfit, match="so often that reading it would never end"):
        archive._count(io.BytesIO(doubled(10, many)))
    monkeypatch.setattr(archive, "MOST_VALUES", 500)
    with pytest.raises(Unfit, match="makes more than 500 objects"):
        archive._count(io.BytesIO(pickle.dumps(list(range(600)), protocol)))


def test_every_pickle_of_an_old_file_and_every_data_record_of_a_new_one_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(STATE, tmp_path / "new.pt")
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert (check_file(tmp_path / "new.pt"), check_file(tmp_path / "old.pt")) == (True, False)
    counted: list[object] = []
    monkeypatch.setattr(archive, "_count", counted.append)
    check_file(tmp_path / "old.pt")
    assert len(counted) == 5
    check_file(tmp_path / "new.pt")
    assert len(counted) == 6


def test_a_compressed_archive_and_a_program_are_refused(tmp_path: Path) -> None:
    for name, kind, said in (("a/data.pkl", zipfile.ZIP_DEFLATED, "a compressed archive"),
                             ("a/constants.pkl", zipfile.ZIP_STORED, "a TorchScript program")):  # fmt: skip
        with zipfile.ZipFile(tmp_path / "file.pt", "w", kind) as made:
            made.writestr("a/version", "3", zipfile.ZIP_STORED)
            made.writestr(name, pickle.dumps({}) * 100)
            made.writestr("a/last", "", zipfile.ZIP_STORED)
        with pytest.raises(Unfit, match=said):
            check_file(tmp_path / "file.pt")


@pytest.mark.parametrize("left_out", [*STATE, None])
def test_a_checkpoint_holds_the_model_the_optimizer_and_the_step(tmp_path: Path, left_out: str | None) -> None:
    torch.save({name: value for name, value in STATE.items() if name != left_out}, tmp_path / "c.pt")
    if left_out is None:
        assert read_training_state(tmp_path / "c.pt")["step"] == 3
        torch.save(STATE, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
        with pytest.raises(UserError, match=r"c\.pt is no archive of torch\.save; put a whole one in its place"):
            read_training_state(tmp_path / "c.pt")  # it has no checksums
        return
    with pytest.raises(UserError, match="is no checkpoint of a training run: it must hold model, optimizer and step"):
        read_training_state(tmp_path / "c.pt")


def test_all_kinds_of_numbers_that_models_have_are_taken() -> None:
    kinds = ["float64", "float32", "float16", "bfloat16", "bool", "uint8", "int8", "int16", "int32", "int64"]
    check_tensors(((kind, torch.zeros(2, dtype=getattr(torch, kind))) for kind in kinds), 100)
    for kind in ("complex64", "uint16"):
        with pytest.raises(Unfit, match=f"holds x as a {kind} tensor; save it as a plain one"):
            check_tensors([("x", torch.zeros(2, dtype=getattr(torch, kind)))], 100)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UserError, match=rf"^there is no checkpoint {path}$"):
            read_training_state(path)
