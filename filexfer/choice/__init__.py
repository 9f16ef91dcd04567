"""What of a source is chosen: patterns, sizes, times, lists of names."""
