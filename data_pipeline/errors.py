"""The one error of this room that a user can cause and repair."""


class InputError(ValueError):
    """What the user gave is wrong. The message is one line: what, where, and what would be right.

    The command line prints the message and exits with status 2. What fails at run time is a RuntimeError (status 1).
    """
