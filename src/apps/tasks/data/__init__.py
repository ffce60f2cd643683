"""What talks to sockets."""
