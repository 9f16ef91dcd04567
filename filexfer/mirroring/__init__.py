"""What is removed at the target, because the source has not got it."""
