"""`python -m mistralrs.cli`."""

from mistralrs.cli.main import main

main()
