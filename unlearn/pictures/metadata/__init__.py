"""What travels with a picture besides its pixels."""
