"""The garbage collector rests while torch is imported, and only then; in a process whose objects are not frozen yet."""

import subprocess
import sys

import pytest

FIRST = """
with importing():
    assert not gc.isenabled()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
    import json
assert gc.isenabled() and gc.get_freeze_count() > frozen + 10_000
"""
FAILED = """
try:
    with importing():
        import no_such_module
except ImportError:
    assert gc.isenabled() and gc.get_freeze_count() == frozen
"""
LATER = """
sys.modules["torch"] = object()
with importing():
    assert gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count() == frozen
"""


@pytest.mark.parametrize("code", [FIRST, FAILED, LATER], ids=["first", "failed", "later job of a sweep"])
def test_what_is_imported_is_collected_neither_then_nor_later(code):
    head = "import gc, os, sys\nfrom mae_hydra.launching.importing import importing\nfrozen = gc.get_freeze_count()\n"
    subprocess.run([sys.executable, "-c", head + code], check=True)
