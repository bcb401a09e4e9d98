"""How the shipped `mini` base was made: an autoencoder, then a UNet with its text encoder, on the base world."""
