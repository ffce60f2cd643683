"""What the broker decides. Pure: what happened and the time come in, what is to be kept and answered goes out."""
