"""Frames and messages, and the connections that carry them: plain, in TLS, or within a limit."""
