"""Train what the configuration says: python train.py [group=option …] [key=value …] [-m] [--cfg job] [--help]

For example
    python train.py                                        MAE pre-training of a tiny ViT on embedded data
    python train.py model=upernet_vitt init_from=<run>     transfer to segmentation
    python train.py -m +sweep=mask_ratio                   a sweep
"""

from mae_hydra import installed

if __name__ == "__main__":
    installed.require()
    from mae_hydra.launching import scheduler

    scheduler.note()
    from mae_hydra.launching.launch import launch

    raise SystemExit(launch())
