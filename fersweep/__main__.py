"""`python -m fersweep`: the command line."""

from fersweep.cli.main import main

if __name__ == "__main__":
    main()
