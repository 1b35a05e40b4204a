"""The `mistralrs` command: arguments in, calls of the public SDK out."""
