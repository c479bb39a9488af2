import textwrap
from pathlib import Path

import forked
import pytest


@pytest.mark.slow
def test_blocks_compile_in_place_as_one_graph_and_keep_their_names():
    """In a process of its own: the shape checks of these tests are Python that a graph cannot hold."""
    script = """
        import sys
        import torch
        sys.path.insert(0, sys.argv[1])
        from tiny_models import encoder, relative_encoder
        for build in (encoder, relative_encoder):
            model = build()
            names, images = list(model.state_dict()), torch.randn(2, 3, 32, 32)
            expected = model.tokens(images)
            for block in model.blocks:
                block.compile(fullgraph=True, backend="eager")
            torch.testing.assert_close(model.tokens(images), expected)
            assert list(model.state_dict()) == names
            model.tokens(images).sum().backward()
    """
    here = Path(__file__).parent
    done = forked.run(here, "-c", textwrap.dedent(script), str(here))
    assert done.returncode == 0, done.stderr
