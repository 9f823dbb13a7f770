"""The results of Ray's tasks, and their errors as they were raised."""

from typing import Any

import ray

from mrc.errors import MrcError


def results(refs: Any) -> Any:
    """Return what `ray.get` does; an error that mrc explains is raised as itself, without Ray's traceback in its text.

    Args:
        refs: A reference to a result, or a list of them.
    """
    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, MrcError) else error from None
