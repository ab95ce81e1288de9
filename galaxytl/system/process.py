"""What a process finds where it runs: the CPUs that it may use, and what other programs left in its environment.

    not_heeded = settle()       # before a framework is imported, and before other processes are started
    usable_cpus()

A trial's result must not depend on what its spec does not hold. So variables that change what the libraries compute are
taken out, and Keras's own settings are not read (`galaxytl.networks.device`). What a machine is, where files lie,
how much memory is taken and what is printed stays the user's. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

SET: Final = {"TF_ENABLE_ONEDNN_OPTS": "1"}
"""What results rest on. It is TensorFlow's own choice only on x86 CPUs with instructions for networks (AVX-512 VNNI and
later); on others a training step took four times as long without it (ResNet50's last block, an AMD EPYC)."""
TAKEN_OUT: Final = (
    *("KERAS_*", "TF_*", "TF2_BEHAVIOR", "XLA_*", "JAX_*", "ONEDNN_*", "DNNL_*"),
    *("NVIDIA_TF32_OVERRIDE", "CUBLAS_*", "CUDNN_ERRATA_*", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "PYTHONWARNINGS"),
)
"""Patterns of names. Of those that were tried, with two trials of MobileNet on CPU, other digits came with
TF_ENABLE_ONEDNN_OPTS=0, TF_DETERMINISTIC_OPS=1, TF_XLA_FLAGS=--tf_xla_auto_jit=2, ONEDNN_MAX_CPU_ISA=SSE41,
ONEDNN_DEFAULT_FPMATH_MODE=BF16 and KERAS_MAX_STEPS_PER_EPOCH=2 (TensorFlow 2.21), and with JAX_THREEFRY_PARTITIONABLE=0
and XLA_FLAGS=--xla_cpu_enable_fast_math=true (JAX 0.10); and trials failed with KERAS_NNX_ENABLED=1,
TF_FUNCTION_JIT_COMPILE_DEFAULT=1 and JAX_DEFAULT_PRNG_IMPL=rbg. Threads (OMP_NUM_THREADS, TF_NUM_INTRAOP_THREADS)
changed no digit."""
USERS: Final = (
    *("KERAS_BACKEND", "KERAS_HOME", "TF_CPP_*", "TF_NUM_*_THREADS", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR"),
    *("TF_GPU_THREAD_*", "TF_*_LIMIT_*", "TF_ENABLED_DEVICE_TYPES", "TF_MIN_GPU_MULTIPROCESSOR_COUNT"),
    *("XLA_PYTHON_CLIENT_*", "JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_*_CACHE_*", "JAX_CUDA_VISIBLE_DEVICES"),
    *("JAX_ENABLE_COMPILATION_CACHE", "JAX_LOGGING_LEVEL", "ONEDNN_VERBOSE*", "DNNL_VERBOSE*", "CUBLAS_LOG*"),
    *("TF_VAR_*", "TF_CLI_*", "TF_LOG*", "TF_DATA_DIR", "TF_INPUT", "TF_IN_AUTOMATION", "TF_WORKSPACE", "TF_PLUGIN_*"),
)
"""Of those, the ones that stay as they are: which devices, how much memory, how many threads, where files lie, what is
printed, and, in the last row, Terraform's. Of XLA_FLAGS stays where CUDA lies."""
XLA_PLACES: Final = ("--xla_gpu_cuda_data_dir=",)
PATHS: Final = ("GALAXYTL_WEIGHTS_DIR", "GALAXYTL_CACHE_DIR", "XDG_CACHE_HOME", "KERAS_HOME")
"""Folders, which other processes read too: they may have another working folder."""
QUOTAS: Final = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
"""Files in which Linux says what CPU time a container may use in each period, in microseconds: cgroups 2, cgroups 1."""


def settle(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Take what would change or break a trial out of the environment, set what results rest on, make paths absolute.

    Returns the names of the variables that said something else, sorted. A second call finds nothing.
    """
    before = dict(environment)
    for name in before:
        if _matches(name, TAKEN_OUT) and not _matches(name, USERS):
            del environment[name]
    places = [flag for flag in before.get("XLA_FLAGS", "").split() if flag.startswith(XLA_PLACES)]
    environment.update(SET | ({"XLA_FLAGS": " ".join(places)} if places else {}))
    for name in PATHS:
        if environment.get(name):
            environment[name] = str(absolute(environment[name]))
    return sorted(name for name, value in before.items() if name not in PATHS and environment.get(name) != value)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def absolute(path: str) -> Path:
    """Return `path` as from whatever working folder, and `~` as the home folder where there is one."""
    expanded = os.path.expanduser(path)  # unlike Path.expanduser it takes a user without a home
    return Path(expanded if expanded.startswith("~") else os.path.abspath(expanded))


def usable_cpus() -> int:
    """Return CPUs that this process may use: what a scheduler, `taskset` or a container gave it, where the system
    tells."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [found for files in QUOTAS if (found := cpu_quota([Path(file) for file in files])) is not None]
    return max(1, min([allowed, *map(int, quotas)]))


def cpu_quota(files: list[Path]) -> float | None:
    """Return CPUs' worth of time, from the files in which a container's is said; None where there is no limit, or no
    file."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
