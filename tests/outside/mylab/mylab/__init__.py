"""Parts of your own for mae_hydra; `MAE_HYDRA_TRUST=mylab` allows them to be built."""
