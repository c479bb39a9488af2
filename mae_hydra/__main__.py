"""python -m mae_hydra <verb> …: the same as the console script `mae-hydra`."""

from mae_hydra import installed

if __name__ == "__main__":
    installed.require()
    from mae_hydra.commands import main

    raise SystemExit(main())
