"""Let the processes of one run agree; torchrun, accelerate launch or Spark has started them."""

import contextlib
import datetime
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, TypeVar, cast

from ..cli import Terminated
from ..errors import ConfigError, LostProcessError, SentimentError
from ..process.cores import count_cores

T = TypeVar("T")

# Variables that launchers set; accelerate reads the same: torchrun, Intel MPI, Open MPI, MVAPICH.
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
# Each process that torchrun starts has all of them, and LOCAL_RANK, which chooses its GPU.
_TORCHRUN = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_LONGEST_WAIT = datetime.timedelta(days=1)
# Set by `accelerate launch` if its config file asks for more than copies of the encoder.
_OTHER_KINDS = (
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_USE_FSDP",
    "ACCELERATE_USE_MEGATRON_LM",
    "ACCELERATE_DYNAMO_BACKEND",
)
_CONTINUE = "run the same command again to continue"


def get_rank() -> int:
    """Return the number of this process; 0 is the main one, which logs, prints and packages."""
    return _read_number(_RANKS, 0)


def count_processes() -> int:
    return _read_number(_SIZES, 1)


def connect() -> None:
    """Connect the processes, and share the cores of the machine among them.

    Raises ConfigError if the variables of a launcher are not complete, or ask for another kind of training.
    """
    _check_launcher()
    if count_processes() == 1:
        return
    import torch
    from accelerate import PartialState

    # By default a process waits for half an hour, less than the main one may need to read or label reviews.
    PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
    # Launchers allow one thread per process unless OMP_NUM_THREADS is set.
    use_cores(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def use_cores(divisor: int = 1) -> None:
    """Let torch use this part of the cores."""
    import torch

    torch.set_num_threads(max(1, count_cores() // divisor))


@contextlib.contextmanager
def using_all_cores() -> Iterator[None]:
    """Let torch use all cores in this block, while the other processes wait."""
    import torch

    before = torch.get_num_threads()
    use_cores()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def agree(*flags: bool) -> list[bool]:
    """Return for each flag whether any process has raised it."""
    if count_processes() == 1:
        return list(flags)
    import torch
    from accelerate import PartialState

    found = torch.tensor(flags, dtype=torch.int32, device=PartialState().device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


def wait_for_all() -> None:
    agree(True)


@contextlib.contextmanager
def sharing_errors() -> Iterator[None]:
    """Raise in each process the first error of any of them; only the main process then reports it."""
    error: SentimentError | None = None
    try:
        yield
    except SentimentError as caught:
        error = caught
    first = next((found for found in _gather(error) if found is not None), None)
    if first is not None:
        first.is_reported = first.is_reported or get_rank() != 0
        raise first


def share(find: Callable[[], T]) -> T:
    """Return in each process what `find` returns in the main one, or raise its error."""
    found = None
    with sharing_errors():
        if get_rank() == 0:
            found = find()
    return cast(T, _gather(found)[0])


def check_same(source: str, digests: Mapping[str, str]) -> None:
    """Raise ConfigError in each process if one has read other files than the main one.

    `digests` are those of what a process has read from `source`, by name.
    """
    (_, expected), *others = _gather((platform.node(), dict(digests)))
    for rank, (machine, found) in enumerate(others, 1):
        names = [name for name in expected if found[name] != expected[name]]
        if names:
            shown = [", ".join(f"{name} {read[name]}" for name in names) for read in (expected, found)]
            error = ConfigError(
                f"{source}: process {rank} on {machine} has read other files than process 0: expected the "
                f"digests of process 0 ({shown[0]}), found {shown[1]}; put the same files on each machine"
            )
            error.is_reported = get_rank() != 0
            raise error


def _read_number(names: tuple[str, ...], default: int) -> int:
    """Return the first number among these variables; `connect` refuses values that are none."""
    values = (os.environ.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdecimal()), default)


def _check_launcher() -> None:
    """Raise ConfigError if the variables of a launcher are not complete, or ask for what is not offered."""
    step = "start several processes with torchrun, or unset it"
    for name in (*_RANKS, *_SIZES):
        if not os.environ.get(name, "0").isdecimal():
            raise ConfigError(
                f"{name}: expected a number from a launcher, found {os.environ[name]!r}; {step}"
            )
    if not get_rank() < count_processes():
        raise ConfigError(
            f"RANK: expected less than {count_processes()} (WORLD_SIZE), found {get_rank()}; {step}"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        import torch

        needed = (*_TORCHRUN, "LOCAL_RANK") if torch.cuda.is_available() else _TORCHRUN
        missing = [name for name in needed if name not in os.environ]
        if missing:
            raise ConfigError(
                f"WORLD_SIZE: is {count_processes()}, but no launcher has set {', '.join(missing)}; {step}"
            )
    for name in _OTHER_KINDS:
        if os.environ.get(name, "no").lower() not in ("", "0", "no", "false"):
            raise ConfigError(
                f"{name}: expected no value, found {os.environ[name]!r}, which this job cannot do; unset "
                "it, or start with torchrun or `accelerate launch --multi_gpu`"
            )


def _gather(value: Any) -> list[Any]:
    if count_processes() == 1:
        return [value]
    from accelerate.utils import gather_object

    gathered: list[Any] = gather_object([value])
    return gathered


@contextlib.contextmanager
def noticing_lost_processes() -> Iterator[None]:
    """Raise LostProcessError if another process ends while this one waits for it."""
    try:
        yield
    except RuntimeError as error:
        is_lost = any(words in str(error) for words in ("closed by peer", "reset by peer", "ProcessGroup"))
        if count_processes() == 1 or not is_lost:
            raise
        raise LostProcessError("another process of this run has ended") from error


class Termination:
    """Turn SIGTERM into `Terminated`: at once, but `deferred` only notes it, and `passed_on` passes it on."""

    def __init__(self) -> None:
        self.is_requested = False
        self._is_deferred = False
        self._pass_on: Callable[[], None] | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGTERM in this block; after it, while the process ends, nothing is left to do."""
        before = signal.signal(signal.SIGTERM, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note SIGTERM in this block: the block looks at `is_requested` and calls `end`."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self.is_requested:
            self.end()

    @contextlib.contextmanager
    def passed_on(self, pass_on: Callable[[], None]) -> Iterator[None]:
        """Call `pass_on` at the first SIGTERM in this block, which waits for others; a second one ends it."""
        self._pass_on = pass_on
        try:
            yield
        finally:
            self._pass_on = None

    def end(self, done: str = "") -> None:
        """Raise `Terminated` with a line that states how to continue."""
        raise Terminated(f"terminated{done}; {_CONTINUE}")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first, self.is_requested = not self.is_requested, True
        if self._is_deferred:
            return
        if self._pass_on is None or not is_first:
            self.end()
        else:
            self._pass_on()
