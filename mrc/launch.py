"""What every job script does around its one function: read the config, log, connect to Ray, end with an exit code.

    0 done    1 failed, or stopped before its end    2 the command cannot be carried out as asked    3 a gate said no
"""

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

from mrc.errors import MrcError, UsageError


def parse_configs(classes: Sequence[type], description: str, argv: Sequence[str] | None = None) -> list[Any]:
    """Read config dataclasses from the command line: flags over `--config`'s YAML over the fields' defaults.

    Args:
        classes: Dataclasses whose field names do not collide; each field is a flag of that name.
        description: For `--help`.
        argv: The command line without the program; by default this process's.

    Returns:
        One instance per class.

    Raises:
        UsageError: A flag or a key of the YAML file is unknown, or its value is of the wrong type.
        SystemExit: After `--help` or `--print_config`.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file of flags; flags after it win over it")
    for cls in classes:
        parser.add_class_arguments(cls)
    argv = sys.argv[1:] if argv is None else list(argv)
    names = [field.name for cls in classes for field in fields(cls)]
    try:
        values = parser.parse_args(argv)
    except ArgumentError as error:
        raise UsageError(_parse_message(str(error), argv, names)) from error
    return [cls(**{field.name: values[field.name] for field in fields(cls)}) for cls in classes]


def run_job(job: Callable[[], None]) -> NoReturn:
    """Run a job and end the process with its exit code; an error that mrc explains is one line on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    logging.getLogger("mrc").setLevel(logging.INFO)
    try:
        job()
        code = 0
    except MrcError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the same command continues what can be continued", file=sys.stderr)
        code = 1
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.exit(code)


def start_ray() -> None:
    """Connect to the cluster that RAY_ADDRESS names or that runs on this machine, else start one for this process.

    Locally CPUs are only bookkeeping, and at least 4 of them are declared: two cores run a worker, the tasks that feed
    it and its driver side by side.
    """
    # Ray's libraries tell their progress at INFO; a job tells its own.
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        ray.init(address="auto", **options)
    except ConnectionError:
        if os.environ.get("RAY_ADDRESS"):
            raise UsageError(f"RAY_ADDRESS {os.environ['RAY_ADDRESS']}: no Ray cluster answers there") from None
        ray.init(address="local", num_cpus=max(4, os.cpu_count() or 1), include_dashboard=False, **options)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _parse_message(message: str, argv: Sequence[str], names: Sequence[str]) -> str:
    """Put a parser's complaint into one line, with the flag that was probably meant."""
    line = re.sub(r"\s+", " ", message).strip()
    for word in argv:
        name = word.lstrip("-").split("=")[0]
        if word.startswith("--") and name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            if close:
                return f"--{name} is no flag; did you mean --{close[0]}?"
    return line
