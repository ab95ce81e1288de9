"""The backend and the device that Keras computes on. The only file of the project that imports TensorFlow or JAX."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import platform
import socket
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

from galaxytl.networks import compilation_cache, gpu_memory
from galaxytl.networks.gpu_memory import DeviceError
from galaxytl.system import process
from galaxytl.system.strict_json import read_json

BACKENDS: Final = ("tensorflow", "jax")
"""Of Keras's, those that this project's networks and heads are written for."""
UNUSED: Final = ("matplotlib", "jax")
"""What Keras and TensorFlow import where it is installed, and use for nothing that is computed here: pictures of
models, and converting JAX's functions to TensorFlow Lite. A second of a process that starts."""
LIMIT_SHARE: Final = 0.9
"""Of its share of a GPU's memory, what a process that shares it may take for arrays: CUDA itself wants some hundred MB
in each process beside them."""


def backend() -> str:
    """Return Keras's backend, by its rules, without importing it; nothing else of a user's Keras settings is read."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    try:
        return str(read_json(_settings().read_bytes())["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def keras_home() -> Path:
    """Return where Keras keeps its settings and its downloads."""
    return process.absolute(os.environ.get("KERAS_HOME") or "~/.keras")


def _settings() -> Path:
    return keras_home() / "keras.json"


def check_backend() -> None:
    """Raise DeviceError where Keras's backend is not one of BACKENDS, or is not installed."""
    chosen = backend()
    said_by = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else f"backend in {_settings()}"
    if chosen not in BACKENDS:
        raise DeviceError(
            f"{said_by} must be {' or '.join(BACKENDS)}; got '{chosen}': set the variable KERAS_BACKEND=tensorflow"
        )
    if not importlib.util.find_spec(chosen):
        raise DeviceError(
            f"{said_by} must be a package that is installed; {socket.gethostname()} has no {chosen}: install it there, "
            "or set KERAS_BACKEND to the other of " + " and ".join(BACKENDS)
        )


def _tensorflow() -> Any:
    """Return TensorFlow when it is Keras's backend, else None."""
    if backend() != "tensorflow":
        return None
    import tensorflow

    return tensorflow


def quiet_framework() -> None:
    """Keep what other programs left in the environment from what is computed, and the C++ start-up notes of TensorFlow
    and XLA out of the logs; call before Keras is imported."""
    process.settle()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def without_settings() -> dict[str, str]:
    """Return the variables with which Keras, when it is imported, neither reads nor writes a keras.json: what a user's
    says would change what networks compute, and what is wrong with it ends the import. Its backend alone is kept."""
    return {"KERAS_HOME": os.devnull, "KERAS_BACKEND": backend()}


@contextlib.contextmanager
def _absent(*packages: str) -> Iterator[None]:
    """Have an import of these packages fail meanwhile in this thread, as where they are not installed."""
    thread = threading.get_ident()

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name in packages and threading.get_ident() == thread:
                raise ModuleNotFoundError(f"{name} is not imported with Keras", name=name)

    finder = Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _start_keras() -> None:
    """Import Keras without its user's settings, or set them to Keras's own where it is imported already: what a trial
    computes is said by its spec. TensorFlow imports Keras too, and goes on with half of it where that fails."""
    before = {name: os.environ.get(name) for name in without_settings()}
    os.environ |= without_settings()
    try:
        with _absent(*(name for name in UNUSED if name != backend())):
            import keras
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")  # networks are built with the spec's (`galaxytl.networks.warm`)
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)


def load() -> None:
    """Import Keras and its backend: what takes seconds, computes nothing, and looks for no device. `configure` goes on
    from there when it is known what this process may use."""
    quiet_framework()
    _start_keras()


def configure(num_threads: int | None, gpus: float | None = None) -> None:
    """Start Keras, with at most `num_threads` CPU threads, taking GPU memory as it is needed. Before any model; threads
    and memory once a process.

    gpus: how many this process was given; of less than one at most that share of its memory is taken; with 0, NVIDIA's
    are hidden from it. None: it may use all that it sees.
    """
    _prepare_gpus(gpus)
    _start_keras()
    tensorflow = _tensorflow()
    if tensorflow is None:
        _keep_compiled()
        return
    try:
        _limit_memory(tensorflow.config, gpus)
        if num_threads:
            tensorflow.config.threading.set_intra_op_parallelism_threads(num_threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(2)
    except RuntimeError:
        return  # this process has computed already: what was set then stays


def _keep_compiled() -> None:
    """Have JAX keep what it compiles for later processes, once a process. A user's own settings of that go before:
    JAX_COMPILATION_CACHE_DIR=FOLDER, or JAX_ENABLE_COMPILATION_CACHE=0."""
    import jax

    if not jax.config.jax_enable_compilation_cache or jax.config.jax_compilation_cache_dir is not None:
        return
    folder = compilation_cache.own_folder()
    settings = {**compilation_cache.SETTINGS, "jax_compilation_cache_dir": str(folder)} if folder else {}
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)


def _prepare_gpus(gpus: float | None) -> None:
    """Set what CUDA, TensorFlow and JAX read from the environment when they are loaded."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # numbers as nvidia-smi and Ray have them
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # within a limit too
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif gpus is not None and gpus < 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{LIMIT_SHARE * gpus:.4f}")


def _limit_memory(config: Any, gpus: float | None) -> None:
    """Grow as needed; of a GPU that is shared, up to this process's share where the driver says how much there is."""
    totals = [memory.total for memory in gpu_memory.visible(gpu_memory.read_memory())] if gpus and gpus < 1 else []
    for gpu in config.list_physical_devices("GPU"):
        if gpus and totals:
            limit = int(LIMIT_SHARE * gpus * min(totals))
            config.set_logical_device_configuration(gpu, [config.LogicalDeviceConfiguration(memory_limit=limit)])
        else:
            config.experimental.set_memory_growth(gpu, True)


def num_gpus() -> int:
    """Count the GPUs that the Keras backend sees."""
    tensorflow = _tensorflow()
    if tensorflow is not None:
        return len(tensorflow.config.list_physical_devices("GPU"))
    import jax

    return sum(found.platform == "gpu" for found in jax.devices())


def check_gpus(gpus: float | None) -> None:
    """Raise DeviceError unless the backend sees the GPU that this process was given, or was given a share of. It would
    compute on one of several, and leave the others idle.

    None: nobody gave it any. 0: NVIDIA's are hidden (`configure`), and none is promised.
    """
    if not gpus:
        return
    if gpus > 1:
        raise DeviceError(f"a trial computes on one GPU, or on a share of one, and must be given no more; got {gpus:g}")
    seen, name = num_gpus(), "TensorFlow" if backend() == "tensorflow" else backend().upper()
    if seen != 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        advice = (
            f"start Ray there with as many --num-gpus as nvidia-smi lists, and install {name} for GPUs there "
            "(pip install --require-hashes -r requirements-gpu.lock)"
        )
        raise DeviceError(
            f"{name} must see the GPU that a trial was given, and no other (CUDA_VISIBLE_DEVICES={visible}); on "
            f"{socket.gethostname()} it sees {seen}: {advice}. python -m sweep.doctor --address auto finds such nodes"
        )


def on_gpu() -> bool:
    import keras

    return any("gpu" in name.lower() or "cuda" in name.lower() for name in keras.distribution.list_devices())


def runs_steps_in_graph() -> bool:
    """Return whether `steps_per_execution` saves Python's part of a step: Keras loops in Python on JAX."""
    return _tensorflow() is not None


def use_xla() -> bool | str:
    """Return Keras's `jit_compile` of a network. On CPU without XLA: training steps of 32 images were 3.5 times slower
    with it for MobileNet at 64 px, as fast for ResNet50 and 1.3 times faster for VGG16, and compiling took longer."""
    return "auto" if on_gpu() or _tensorflow() is None else False


class _Source:
    """What a pipeline reads, which may change between two passes over it."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches


def for_keras(batches: Any, before: Any = None) -> Any:
    """Return what `fit`, `evaluate` and `predict` are given for a sequence of batches: inputs (B, ...), labels
    (B,) or votes (B, C) and, where examples count differently, what each counts (B,).

    before: what this gave for as many batches of the same shapes, if they are done with: making another costs
    TensorFlow as much as some steps of a small network.

    TensorFlow gets a tf.data pipeline of its own making, with autotuning off: Keras's has it on, and then the end of
    every epoch waits for the tuner's next wake-up, at 5.1, 10.2, 20.5 ... s after the epoch's start, however short the
    epoch was. The batch dimension is left open, so that a ragged last batch needs no second tracing.
    """
    tensorflow = _tensorflow()
    if tensorflow is None:
        return batches  # with two workers, Keras 3.15 puts the first batch of a network's first epoch last
    if before is not None:
        before.source.batches = batches
        return before
    shapes = [tensorflow.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batches[0]]
    source = _Source(batches)
    reference = weakref.ref(source)  # TensorFlow keeps every generator until the process ends: not what it reads

    def read() -> Iterator[Any]:
        known: Any = cast(_Source, reference()).batches
        yield from (known[i] for i in range(len(known)))

    dataset = tensorflow.data.Dataset.from_generator(read, output_signature=tuple(shapes))
    options = tensorflow.data.Options()
    options.autotune.enabled = False
    dataset = dataset.apply(tensorflow.data.experimental.assert_cardinality(len(batches)))
    dataset = dataset.prefetch(2).with_options(options)
    dataset.source = source  # alive as long as the pipeline
    return dataset


def compiled(function: Callable[..., Any], *, xla: bool, autograph: bool = False) -> Callable[..., Any]:
    """Compile `function` of arrays (and dicts of arrays), traced once a shape of its arguments. JAX always uses XLA.

    autograph: whether TensorFlow translates Python's `if` and `for` over arrays first, which takes a second in each
    process and changes nothing where there are none."""
    tensorflow = _tensorflow()
    if tensorflow is None:
        import jax

        return jax.jit(function)
    return tensorflow.function(function, jit_compile=xla, autograph=autograph, reduce_retracing=False)


@contextlib.contextmanager
def forgetting_gradients() -> Iterator[None]:
    """Take the gradients that TensorFlow registers meanwhile out of its registry again, when what is traced is traced.

    Every trace of a function with a gradient of its own registers that under a new name, and for ever, and what is
    registered holds the whole graph (https://github.com/tensorflow/tensorflow/issues/97697): of every training step, as
    Keras's optimizers have such a function, and of all that has a SiLU, as EfficientNet. 1.3 MB of a network of 8
    kernels stayed so, whenever another was compiled. A name is only looked up while the graph around it is traced.
    There is no public way: known of TensorFlow 2.21 (tensorflow/python/framework/registry.py).
    """
    if _tensorflow() is None:
        yield
        return
    from tensorflow.python.framework import ops

    registered: dict[str, Any] = ops.gradient_registry._registry
    before = set(registered)
    try:
        yield
    finally:
        for name in set(registered) - before:
            if name.startswith("CustomGradient-"):
                registered.pop(name, None)


def drop_kernels() -> None:
    """Free what TensorFlow has prepared, of functions that it ran, to run them again: it keeps that of functions which
    are gone too, 0.5 MB of a network of 8 kernels. Of those in use it is prepared again.

    `keras.utils.clear_session` does it in this way, and forgets the names that layers have besides; there is no public
    one for this alone. Known of TensorFlow 2.21 (tensorflow/python/eager/context.py)."""
    if _tensorflow() is None:
        return
    from tensorflow.python.eager import context

    context.context().clear_kernel_cache()


def value_and_gradients(function: Callable[[Any], tuple[Any, Any]], variables: list[Any]) -> tuple[Any, list[Any]]:
    """Return what `function(variables)`, a number and something beside it, gives, and the gradients of the number."""
    tensorflow = _tensorflow()
    if tensorflow is None:
        import jax

        return jax.value_and_grad(function, has_aux=True)(variables)
    with tensorflow.GradientTape() as tape:
        tape.watch(variables)
        found = function(variables)
    return found, tape.gradient(found[0], variables)


def compiled_forward(model: Any) -> Callable[[Any], Any]:
    """Compile images or activations (B, ...) to the model's output in inference mode, which may still be under way when
    it returns: np.asarray waits for it."""
    tensorflow = _tensorflow()
    if tensorflow is not None:
        return compiled(lambda batch: model(batch, training=False), xla=on_gpu(), autograph=True)
    import jax

    def forward(trained: Any, others: Any, batch: Any) -> Any:
        return model.stateless_call(trained, others, batch, training=False)[0]

    compiled_once = jax.jit(forward)

    def call(batch: Any) -> Any:
        variables = (model.trainable_variables, model.non_trainable_variables)
        return compiled_once(*([variable.value for variable in part] for part in variables), batch)

    return call


def loaded_lite(path: Path) -> Callable[[Any], Any]:
    """Return what gives the output of a TFLite model for images (B, H, W, 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it names its successor, which is a package of its own
        interpreter = _tensorflow().lite.Interpreter(str(path))
    places = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(images: Any) -> Any:
        interpreter.resize_tensor_input(places[0], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(places[0], images)
        interpreter.invoke()
        return interpreter.get_tensor(places[1])

    return run


def loaded_folder(path: Path) -> Callable[[Any], Any]:
    """Return what gives the output of Keras's SavedModel for images (B, H, W, 3)."""
    model = _tensorflow().saved_model.load(str(path))
    return lambda images: model.serve(images).numpy()


def describe() -> str:
    """Return what the device is, for people: "NVIDIA H200" or "x86_64 CPU, 2 threads"."""
    tensorflow = _tensorflow()
    if tensorflow is None:
        import jax

        return f"{jax.devices()[0].device_kind} (jax)"
    gpus = tensorflow.config.list_physical_devices("GPU")
    if gpus:
        return ", ".join(
            tensorflow.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus
        )
    threads = tensorflow.config.threading.get_intra_op_parallelism_threads() or process.usable_cpus()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether it is what TensorFlow, XLA and Python raise when memory runs out."""
    name = type(error).__name__
    text = str(error)
    return isinstance(error, MemoryError) or name == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in text
