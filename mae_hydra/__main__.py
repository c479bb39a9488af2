"""python -m mae_hydra <verb> …: the same as the console script `mae-hydra`."""

from mae_hydra.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
