"""The models that the project is about: the end-to-end Sinkhorn autoencoder so far."""
