"""Environments as other programs leave them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Final

ODD: Final = {
    "KERAS_BACKEND": ("torch", "numpy", "nonsense", ""),
    "OMP_NUM_THREADS": ("1", "7", "none"),
    "OPENBLAS_NUM_THREADS": ("1", "64"),
    "TF_ENABLE_ONEDNN_OPTS": ("0", "1"),
    "TF_CPP_MIN_LOG_LEVEL": ("0", "3"),
    "TF_DETERMINISTIC_OPS": ("1",),
    "TF_XLA_FLAGS": ("--tf_xla_auto_jit=2",),
    "XLA_FLAGS": ("--xla_cpu_enable_fast_math=true",),
    "JAX_ENABLE_X64": ("1",),
    "LC_ALL": ("C", "de_DE.UTF-8", "tr_TR.UTF-8", "nonsense"),
    "PYTHONHASHSEED": ("0", "12345"),
    "PYTHONIOENCODING": ("ascii", "latin-1"),
    "PYTHONUTF8": ("0", "1"),
    "PYTHONOPTIMIZE": ("1", "2"),
    "TZ": ("Asia/Kathmandu", "nonsense"),
    "RAY_CHDIR_TO_TRIAL_DIR": ("1",),
    "TUNE_RESULT_BUFFER_LENGTH": ("5",),
    "CUDA_VISIBLE_DEVICES": ("", "0", "-1"),
    "GALAXYTL_CACHE_GB": ("50", "50GB", "-1"),
    "COLUMNS": ("1", "no"),
}
KERAS: Final = {
    "floatx": ("float16", "float64", "bfloat16", "nonsense"),
    "epsilon": (1e-2, 0),
    "image_data_format": ("channels_first", "channels_last"),
    "backend": ("tensorflow", "torch", "nonsense"),
}


def environment(rng: random.Random, home: Path) -> dict[str, str]:
    """Two to six variables, and a keras.json in a home folder."""
    changes = {name: rng.choice(ODD[name]) for name in rng.sample(sorted(ODD), rng.randrange(2, 7))}
    home.mkdir()
    keras = {name: rng.choice(KERAS[name]) for name in rng.sample(sorted(KERAS), rng.randrange(0, 4))}
    (home / "keras.json").write_text(json.dumps(keras) if rng.random() < 0.9 else "{")
    return {**changes, "KERAS_HOME": str(home)}
