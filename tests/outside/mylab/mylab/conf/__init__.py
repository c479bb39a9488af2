"""The option files of mylab; as a package they are found by `hydra.searchpath=[pkg://mylab.conf]`."""
