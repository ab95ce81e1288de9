"""The private parts of Ray that a sweep uses, and what Ray reads at its import. Tested with Ray 2.60.

Nothing else imports ray before this file does.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from galaxytl.system.credentials import without_secrets

OF_TUNE = ("TUNE_", "RAY_AIR_", "RAY_TRAIN_")
"""How variables begin that are made for other programs: they change when results come, what is tried again and where
Tune's files lie. Ray's own say what a machine is, and stay."""
CHECKPOINT_SECONDS = "TUNE_GLOBAL_CHECKPOINT_S"
"""How often Tune's files go to the results folder, each time those of all trials: every ten seconds, Tune's own choice,
that would be most of the work of a long sweep. Nothing of ours reads them, so it is the user's."""

HANDLES_SIGNALS: Final = "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"


def settle(environment: MutableMapping[str, str]) -> None:
    """Set what Ray and Tune read at their import and in their workers."""
    for name in list(environment):
        if name.startswith(OF_TUNE) and name != CHECKPOINT_SECONDS:
            del environment[name]
    environment.update(
        TUNE_DISABLE_SIGINT_HANDLER="1",  # it would wait for the steps under way
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",  # `tune.py` has those that are of use
        RAY_AIR_NEW_OUTPUT="0",  # prints a banner whatever `verbose` says
        RAY_CHDIR_TO_TRIAL_DIR="0",  # a relative path means the same everywhere
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",  # what Ray will do, without its warning
    )
    environment.setdefault(CHECKPOINT_SECONDS, "300")
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")


settle(os.environ)

# Ray's C++ parts would take SIGTERM in place of Python's handler, and end the driver before what it holds is let go of;
# `own_handlers` mends that where Ray starts in the main thread alone. Workers keep Ray's own choice.
_before = os.environ.get(HANDLES_SIGNALS)
os.environ[HANDLES_SIGNALS] = "1"
import ray  # noqa: E402
import ray.job_config  # noqa: E402

os.environ.pop(HANDLES_SIGNALS)
if _before is not None:
    os.environ[HANDLES_SIGNALS] = _before

CODE: Final = Path(__file__).resolve().parents[2]
"""The folder with `sweep` and `galaxytl`."""
INSTALLED: Final = ("site-packages", "dist-packages")
"""Folders where each worker looks by itself, and which hold other packages too."""

# The command line, which Ray lists as that of a job.
ray._private.utils.get_entrypoint_name = lambda: without_secrets(shlex.join(sys.argv))

# Ray's own handler of SIGTERM ends the driver before what it holds is let go of (`ray.init` sets it).
ray._private.utils.set_sigterm_handler = lambda handler: None


def show_workers_output(show: Callable[..., None]) -> None:
    """Have Ray tell `show` what a worker printed: also, at length, when it has died."""
    ray._private.worker.print_to_stdstream = show


class _Paths(list[str]):
    """Folders in which workers look for modules first, the last before the others."""

    def extend(self, added: Iterable[str]) -> None:
        """Add the folder that the driver itself looks into first: Ray adds the script's, and the working folder."""
        first = Path(sys.path[0] or os.curdir).resolve()
        super().extend(path for path in added if Path(path).resolve() == first)


def own_code() -> Any:
    """Return settings by which workers find the same code as the driver. Ray has them look into the driver's working
    folder first in any case, where a user's own sweep.py, or a folder of that name, would stand for ours."""
    config = ray.job_config.JobConfig()
    config._py_driver_sys_path = _Paths([str(CODE)] if CODE.name not in INSTALLED else [])
    return config


@contextlib.contextmanager
def own_node(worker_program: str) -> Iterator[None]:
    """Start a cluster of one machine, with these three of its own."""
    with within_this_machine(), without_idle_helpers(), workers_started_by(worker_program):
        yield


@contextlib.contextmanager
def within_this_machine() -> Iterator[None]:
    """Have a cluster of one machine listen on its loopback address alone: Ray's own choice on macOS and Windows, and no
    other setting brings it about elsewhere."""
    constants = ray._private.ray_constants
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def without_idle_helpers() -> Iterator[None]:
    """Start a cluster of one machine without three of Ray's processes that a sweep has no use for, each a Python that
    takes a second of a core: the server of the dashboard, which Ray starts without its page too and waits for; the
    monitor that adds nodes; and the one that reads workers' logs for a driver which prints them. The dashboard's agent,
    which Ray must have, is as small as where the packages of the dashboard are not installed."""

    def start_nothing(self: Any, **_: Any) -> None:
        self._webui_url = ""  # what the dashboard's start would set

    node, utils = ray._private.node.Node, ray._private.utils
    looks_for = utils.get_dashboard_dependency_error  # imports them all
    utils.get_dashboard_dependency_error = lambda: ImportError("not looked for")
    replaced = ("start_api_server", "start_monitor", "start_log_monitor")
    before = {name: getattr(node, name) for name in replaced}
    for name in replaced:
        setattr(node, name, start_nothing)
    try:
        yield
    finally:
        utils.get_dashboard_dependency_error = looks_for
        for name, method in before.items():
            setattr(node, name, method)


@contextlib.contextmanager
def workers_started_by(program: str) -> Iterator[None]:
    """Start workers by this Python file in place of Ray's `setup_worker.py`, with that one's arguments."""
    node: Any = ray._private.node.Node
    start = node.start_raylet

    def start_raylet(self: Any, *given: Any, **named: Any) -> Any:
        self._ray_params.setup_worker_path = program
        return start(self, *given, **named)

    node.start_raylet = start_raylet
    try:
        yield
    finally:
        node.start_raylet = start


@contextlib.contextmanager
def trainable_read_once() -> Iterator[None]:
    """Read the trainable once a round: Tune asks the head for it five times a trial, 1 to 2 ms each, and unpickles it
    anew."""
    registry: Any = ray.tune.registry._global_registry
    read, has = registry.get, registry.contains
    known: dict[tuple[Any, ...], Any] = {}

    def get(*key: Any) -> Any:
        if key not in known:
            known[key] = read(*key)
        return known[key]

    registry.get, registry.contains = get, lambda *key: key in known or has(*key)
    try:
        yield
    finally:
        del registry.get, registry.contains


def dashboard_address() -> str:
    """Return HOST:PORT of the connected cluster's dashboard, or "" where none runs."""
    return str(getattr(ray._private.worker._global_node, "webui_url", None) or "")


def asks_for_token() -> bool:
    """Return whether the Ray of this process asks for a token."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return bool(is_token_auth_enabled())


def check_cluster_schema(config: Mapping[str, Any]) -> None:
    """Check a cluster file's content as `ray up` does. Raises what that raises, and SystemExit where it gives up."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(json.loads(json.dumps(config)))))
