"""Who may do what, how servers are known, and where secrets are kept."""
