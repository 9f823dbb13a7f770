"""What every job script does around its one function: read the config, log, connect to Ray, end with an exit code.

0 done    1 failed, or stopped before its end    2 the command cannot be carried out as asked    3 a gate said no
"""

import argparse
import difflib
import gc
import logging
import os
import re
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from mrc.errors import MrcError, RunError, UsageError

_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}

_STORE_VARIABLES = frozenset(
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "AWS_RESPONSE_CHECKSUM_VALIDATION",
        "AWS_MAX_ATTEMPTS",
        "AWS_RETRY_MODE",
    ]
)
"""Of AWS's clients, those that mean the same on every machine; profiles and files do not."""


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
    parser = ArgumentParser(
        description=description.strip(),
        usage="%(prog)s [--config FILE.yaml] [--FLAG VALUE ...]",
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of flags; flags on the command line win over it")
    for cls in classes:
        parser.add_class_arguments(cls)
    argv = _config_first(sys.argv[1:] if argv is None else argv)
    try:
        values = parser.parse_args(argv)
    except ArgumentError as error:
        hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
        raise UsageError(_parse_message(str(error), argv, hints)) from error
    return [cls(**{field.name: values[field.name] for field in fields(cls)}) for cls in classes]


def run_job(job: Callable[[], None]) -> NoReturn:
    """Run a job and end the process with its exit code; an error that mrc explains is one line on stderr."""
    # A job imports much that stays: to look for garbage among it every 700 objects takes a second of its start.
    gc.set_threshold(100_000, 20, 20)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("mrc").setLevel(logging.INFO)
    # Read when these libraries are imported, which a job does after this.
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | os.environ
    try:
        job()
        code = 0
    except MrcError as error:
        print(f"error: {_printable(str(error))}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the same command continues what can be continued", file=sys.stderr)
        code = 1
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.exit(code)


def start_ray(check: Callable[[Sequence[Mapping[str, float]]], object] | None = None) -> None:
    """Connect to the cluster that RAY_ADDRESS names or that `ray start` runs on this machine, else start one.

    A cluster that is started here is this process's own and ends with it; RAY_ADDRESS=local always starts one. CPUs are
    only bookkeeping there, and at least 4 of them are declared: two cores run a worker, the tasks that feed it and its
    driver side by side.

    Args:
        check: Refuses nodes, by their resources, that are too small; called before Ray is started, which takes a while.

    Raises:
        UsageError: No cluster answers at RAY_ADDRESS, or it does not let us in.
        RunError: A cluster could not be started, on a machine that is too busy for one.
    """
    _quiet()
    import ray

    from mrc.tasks import cores_here

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if _cluster_address() is None:
        cpus = max(4, cores_here())
        if check is not None:
            check([{"CPU": cpus, "GPU": _count_gpus()}])
        options |= {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    elif variables := {name: value for name, value in os.environ.items() if name in _STORE_VARIABLES}:
        options["runtime_env"] = {"worker_process_setup_hook": _setting(variables)}
    try:
        _init(options)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise UsageError(f"the Ray cluster does not take this job: {_one_line(error)}") from error
    except Exception as error:  # Ray has no type for it
        raise RunError(f"Ray did not start: {_one_line(error)}") from error
    # Ray's own handler ends the process without a word.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ray.data.DataContext.get_current().enable_progress_bars = False
    _quiet()  # Ray Data sets its level when it is imported


def _init(options: Mapping[str, Any]) -> None:
    """Do what `ray.init` does, and where a cluster of our own does not start, once again.

    Ray's processes have half a minute for that, which is too short while other programs start on a small machine.
    """
    import psutil
    import ray

    if options.get("address") != "local":
        ray.init(**options)
        return
    before = psutil.Process().children()
    try:
        ray.init(**options)
    except Exception as error:
        logging.getLogger("mrc").warning("Ray did not start, and is started again: %s", _one_line(error))
        for process in set(psutil.Process().children()) - set(before):
            process.kill()
        ray.shutdown()
        ray.init(**options)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _setting(variables: Mapping[str, str]) -> Callable[[], None]:
    """Return what sets variables in a worker of a cluster that runs already, whose processes have not the driver's.

    A function, which Ray keeps to itself, since it logs and shows a runtime environment's `env_vars`.
    """

    def set_store_variables() -> None:
        # Half of the worker's own credentials would spoil those.
        if "AWS_ACCESS_KEY_ID" in variables:
            os.environ.pop("AWS_SESSION_TOKEN", None)
        os.environ.update(variables)

    return set_store_variables


def _quiet() -> None:
    """Keep the progress of Ray's libraries, which they tell at INFO, off the console; a job tells its own."""
    for name in ("ray.data", "ray.train", "ray.tune", "ray._private.authentication"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _cluster_address() -> str | None:
    """Return host and port of the cluster to join, as `ray.init()` finds it; None where one is to be started.

    Not address="auto": that joins whatever Ray process it finds, such as the one of another job, and ends with it.
    """
    from ray._private.services import canonicalize_bootstrap_address

    named = os.environ.get("RAY_ADDRESS", "")
    if "://" in named:
        raise UsageError(f"RAY_ADDRESS {named}: a job runs inside its cluster; use `ray job submit --address {named}`")
    try:
        address: str | None = canonicalize_bootstrap_address(None)  # type: ignore[arg-type]
    except (ConnectionError, ValueError, OSError) as error:
        raise UsageError(f"RAY_ADDRESS {named}: {error}") from error
    # Ray itself tries for a minute, with a line on stderr every few seconds.
    if address is None or _accepts_connections(address):
        return address
    if named:
        raise UsageError(f"RAY_ADDRESS {named}: nothing answers there; correct it, or set RAY_ADDRESS=local")
    return None  # What `ray start` wrote down is of a cluster that is gone.


def _accepts_connections(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


class _Formatter(logging.Formatter):
    """Keeps what ids and file names bring from the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return _printable(super().formatMessage(record))


def _printable(text: str) -> str:
    """Return a text with control characters spelled out: they move the cursor, hide text, or begin a line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the description, whose lines are commands to copy."""


def _config_first(argv: Sequence[str]) -> list[str]:
    """Move `--config` to the front, since what the parser meets later wins and flags are to win."""
    configs: list[str] = []
    flags: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--config":
            configs += [word, *(value for value in [next(words, None)] if value is not None)]
        else:
            (configs if word.startswith("--config=") else flags).append(word)
    return configs + flags


def _parse_message(message: str, argv: Sequence[str], hints: Mapping[str, Any]) -> str:
    """Put a parser's complaint into one line, with the flag that was probably meant or the values it takes."""
    line = re.sub(r"\s+", " ", message).strip()
    unknown_key = re.match(r"Option '([^']+)' is not accepted", line)
    if unknown_key:
        return f"{unknown_key[1]} in the file of --config is no flag{_meant(unknown_key[1], hints)}"
    bad_value = re.match(r'Parser key "(\w+)": .*value: (.*)$', line)
    if bad_value and bad_value[1] in hints:
        return f"--{bad_value[1]} {bad_value[2]}: expected {_expected(hints[bad_value[1]])}"
    bad_file = re.match(r'(?:Parser key "config"|Problems parsing config): (.*)$|(Unexpected config: .*)$', line)
    if bad_file:
        return f"--config: {bad_file[1] or bad_file[2]}"
    if line.startswith("unrecognized arguments:"):
        name = next((word.lstrip("-").split("=")[0] for word in argv if _is_unknown_flag(word, hints)), "")
        return f"--{name} is no flag{_meant(name, hints)}" if name else f"{line} (values follow their --flag)"
    return line.removeprefix("argument ")


def _is_unknown_flag(word: str, hints: Mapping[str, Any]) -> bool:
    return word.startswith("--") and word[2:].split("=")[0] not in {"config", *hints}


def _meant(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean --{close[0]}?" if close else "; --help lists all flags"


def _expected(hint: Any) -> str:
    """Say in words which values a type takes."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(_expected, get_args(hint)))
    return _EXPECTED.get(hint, str(hint))
