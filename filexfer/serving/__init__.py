"""The inner parts of a server: who comes in, what he asks for, what is logged, how it is run."""
