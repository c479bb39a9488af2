"""The configuration tree, shipped as `mae_hydra.conf` (so that other applications can use `pkg://mae_hydra.conf`)."""
