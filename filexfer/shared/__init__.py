"""One command over several connections, and large files in pieces over all of them."""
