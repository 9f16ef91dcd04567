"""What a transfer would do, found out by its questions alone."""
