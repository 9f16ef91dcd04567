"""Where time goes: what ``doctor`` and ``--stats`` find out."""
