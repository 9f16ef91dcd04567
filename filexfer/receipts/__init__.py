"""What is written down of a transfer, and what lies there held against it."""
