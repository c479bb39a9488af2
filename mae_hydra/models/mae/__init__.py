"""The masked autoencoder: masking, decoders, loss."""
