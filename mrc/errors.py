"""The exceptions that mrc raises on purpose.

    MrcError             anything mrc can explain; a job prints it as one line, without a traceback
    ├── UsageError       the request cannot be carried out as asked (flag, file, model, shape); exit code 2
    │   └── BadFileError a file of the input is torn, or of another format than its name says
    ├── RunError         the request was fine and the run failed, or was stopped, on the way; exit code 1
    └── GateError        the run is done, and what it found is worse than was allowed; exit code 3

Every message says what was seen, where it was seen, and what to do about it, naming the flag to change.
"""


class MrcError(Exception):
    """Base of every error that mrc raises on purpose."""

    exit_code = 1


class UsageError(MrcError):
    """What the user asked for cannot be done: change the command."""

    exit_code = 2


class BadFileError(UsageError):
    """A file of the input cannot be read as what it is named: bulk answering may be told to go on without it."""


class RunError(MrcError):
    """The run failed, or was stopped, on its way: the same command may be run again."""


class GateError(MrcError):
    """What was found is worse than the user allows: look at it."""

    exit_code = 3
