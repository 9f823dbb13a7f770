"""Results of Ray's tasks, and their errors."""

from typing import Any

import ray

from mrc.errors import MrcError


def results(refs: Any) -> Any:
    """Return what `ray.get` does; an error that mrc explains, or of the store, is raised as itself.

    Ray's own has the traceback of the task in its text.

    Args:
        refs: A reference to a result, or a list of them.
    """
    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, MrcError | OSError) else error from None
