"""How kernels are compiled: two decorators, a cache on disk, and a prefetch instruction."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import platformdirs
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.caching import UserProvidedCacheLocator
from numba.extending import intrinsic

from recsys.safe_files import ONLY_TEMPORARY

# Sums may be reordered, without which a dot product can't be vectorised, and a*b+c may be fused.
# nnan and ninf are left out, because a training that diverges must show its NaN.
FAST = frozenset({"reassoc", "contract", "nsz"})

# Arrays in explicit signatures, contiguous: R is read only, W is written to; 2 has two dimensions.
I32R = types.Array(types.int32, 1, "C", readonly=True)
I64R = types.Array(types.int64, 1, "C", readonly=True)
F32R = types.Array(types.float32, 1, "C", readonly=True)
I32R2 = types.Array(types.int32, 2, "C", readonly=True)
F32R2 = types.Array(types.float32, 2, "C", readonly=True)
I64W = types.Array(types.int64, 1, "C")
I32W2 = types.Array(types.int32, 2, "C")
F32W2 = types.Array(types.float32, 2, "C")


PACKAGE = Path(__file__).resolve().parents[1]
ROOM = 32 << 20  # bytes: the compiled kernels take 16 MB


@cache
def cache_folder() -> Path | None:
    """The folder of the compiled code, or None if no private folder can be written.

    It is in NUMBA_CACHE_DIR, or if that is not set, in the user's cache. If that can't be used (a
    home that is read-only, full or missing) or may not be (`ONLY_TEMPORARY`), it is in a private
    folder in the system's temporary one, so that not every worker has to compile.
    Its name includes a digest of all kernel sources: numba itself only notices changes in the file
    that defines a function, not in functions from other files that are inlined.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    # every folder of kernels in the package: recsys/kernels and those of the models
    for source in sorted(PACKAGE.rglob("kernels/*.py")):
        digest.update(source.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for base in _bases():
        if _private(base / name):
            return base / name
    return None


def _bases() -> Iterator[Path]:
    base = os.environ.get("NUMBA_CACHE_DIR")
    with suppress(RuntimeError, OSError, KeyError):  # a user without a home
        if base or not os.environ.get(ONLY_TEMPORARY):
            yield Path(base or platformdirs.user_cache_dir("recsearch")).expanduser().resolve()
    with suppress(OSError):
        temporary = Path(tempfile.gettempdir()) / f"recsearch-{os.getuid()}"
        temporary.mkdir(mode=0o700, exist_ok=True)
        if not temporary.is_symlink() and _ours(temporary):
            yield temporary


def _private(folder: Path) -> bool:
    """Whether compiled code can be kept in `folder`, and nobody else can put any there.

    Cached code is loaded by unpickling, so a folder that somebody else could write to is never
    used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
            file.flush()
        filled = any(folder.glob("*/*.nbi"))
        return _ours(folder) and (filled or shutil.disk_usage(folder).free >= ROOM)
    except OSError:
        return False


def _ours(folder: Path) -> bool:
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def kernel(*, inline: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function to run without the GIL.

    inline: for small functions that other kernels call; they are not cached by themselves. Kernels
    index without bounds checks and divide as C does, so callers must pass the right shapes.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {
            "nogil": True,
            "_nrt": False,
            "fastmath": set(FAST),
            "error_model": "numpy",
        }
        if inline:
            return numba.njit(forceinline=True, **options)(function)
        return _cached(function, **options)

    return decorate


def exact(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function for one signature at import, to run without the GIL.

    signature: numba's, or its text. Sums are computed in the order written.
    """
    return lambda function: _cached(function, signature, nogil=True)


def _cached(function: Callable[..., Any], *signature: Any, **options: Any) -> Callable[..., Any]:
    """`function`, compiled, with its code kept in `cache_folder` if there is one.

    If the code can't be saved because the disk is full, it is compiled all the same.
    """
    if (folder := cache_folder()) is not None:
        with suppress(OSError):  # of a signature: saved at once
            return _saved_in(folder, function, *signature, **options)
    return numba.njit(*signature, **options)(function)


class ByPackage(UserProvidedCacheLocator):
    """Where in `numba.config.CACHE_DIR` the code of a function is kept.

    numba names the place after the path of the source. For kernels it is named after their package
    instead. `cache_folder` depends on the content of the sources, so all copies of them can share
    it: another checkout, an installation, or what a cluster was sent.
    """

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """The folder for the code of a source, from the path of the source."""
        source = Path(py_file).resolve()
        if source.is_relative_to(PACKAGE):
            return ".".join(source.parent.relative_to(PACKAGE.parent).parts)
        name: str = super().get_suitable_cache_subpath(py_file)
        return name


def _saved_in(folder: Path, function: Callable[..., Any], *signature: Any, **options: Any) -> Any:
    # numba reads these when it decorates; they are restored, so that other code is not affected
    before = numba.config.CACHE_DIR, numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_DIR = str(folder)
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{ByPackage.__name__}"
    try:
        dispatcher = numba.njit(*signature, cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR, numba.config.CACHE_LOCATOR_CLASSES = before
    save = dispatcher._cache.save_overload

    def save_if_possible(signature: Any, code: Any) -> None:
        with suppress(OSError):
            save(signature, code)

    dispatcher._cache.save_overload = save_if_possible
    return dispatcher


@intrinsic
def prefetch(typingctx, array, index):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Ask the processor to fetch the cache line of `array.ravel()[index]`; any index is safe.

    array: C-contiguous.
    """
    signature = types.void(array, index)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        view = context.make_array(sig.args[0])(context, builder, args[0])
        place = context.cast(builder, args[1], sig.args[1], types.intp)
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(view.data, [place]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        builder.call(function, [address, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return signature, codegen


@kernel(inline=True)
def prefetch_row(table, row, width):  # type: ignore[no-untyped-def]
    """Prefetch a row of a C-contiguous float32 table (rows, width)."""
    start = row * width
    # 16 floats per cache line; after 8 lines the hardware's own prefetcher has noticed
    for column in range(0, min(width, 128), 16):
        prefetch(table, start + column)
    prefetch(table, start + width - 1)  # rows that don't start at a line end in one more
