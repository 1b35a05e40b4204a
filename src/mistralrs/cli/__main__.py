"""`python -m mistralrs.cli`."""

from .main import main

main()
