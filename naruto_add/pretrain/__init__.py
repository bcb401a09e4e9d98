"""How the shipped `mini` base was made: an autoencoder, a text encoder, then a UNet, on the base world."""
