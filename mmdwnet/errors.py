"""The one exception that means: the input is wrong, not the program."""


class UserError(ValueError):
    """Bad input, told in one sentence: what is wrong, where, and what to do.

    The commands in `tools/` print that sentence on stderr and exit with code 2. It is a
    `ValueError`, so that code which uses the package as a library can treat it as one.
    """


class DataError(UserError):
    """A file of the data set is at fault, and that file alone: a traceback would not tell more."""
