"""timm without wandb: importing timm imports wandb where it is installed, for a logger that is not used here.

That takes about half a second of every start, and "nothing of wandb is imported unless asked for" would be untrue.
Import this module before anything of timm.
"""

import sys

if "timm" not in sys.modules and "wandb" not in sys.modules:
    sys.modules["wandb"] = None  # type: ignore[assignment]  # an import of it now fails, which timm is prepared for
    try:
        import timm  # noqa: F401
    finally:
        del sys.modules["wandb"]
