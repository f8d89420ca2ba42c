"""How the kernels are compiled: one decorator, one cache on disk, one prefetch instruction."""

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

# Sums may be reordered (that is what vectorises a dot product) and a*b+c fused. Not among them:
# nnan and ninf, because a diverging training must show its NaN.
FAST = frozenset({"reassoc", "contract", "nsz"})


PACKAGE = Path(__file__).resolve().parents[1]
ROOM = 32 << 20  # bytes: the compiled kernels take 16 MB


@cache
def cache_folder() -> Path | None:
    """Folder of the compiled code, or None where nothing private can be written.

    That is the user's cache, or where it can't be used (a home that is read-only, full or not
    there) a private folder under the system's temporary one, so that workers need not compile
    each for itself. Its name holds a digest of every kernel source: numba itself notices only
    changes of the file a function is defined in, not of the functions it inlines from other files.
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
    with suppress(RuntimeError, OSError, KeyError):  # a user without a home
        base = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("recsearch")
        yield Path(base).expanduser().resolve()
    with suppress(OSError):
        temporary = Path(tempfile.gettempdir()) / f"recsearch-{os.getuid()}"
        temporary.mkdir(mode=0o700, exist_ok=True)
        if not temporary.is_symlink() and _ours(temporary):
            yield temporary


def _private(folder: Path) -> bool:
    """Whether compiled code can be kept there, and nobody else can put any there.

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
    """Compile without the GIL; `inline` for small functions called inside other kernels.

    Kernels index without bounds checks and divide as C does: callers hold the shapes right.
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
    """Compile for one signature at import, without the GIL and with sums in the order written."""
    return lambda function: _cached(function, signature, nogil=True)


def _cached(function: Callable[..., Any], *signature: Any, **options: Any) -> Callable[..., Any]:
    """`function` compiled, its code kept in `cache_folder` where there is one.

    Where the code can't be saved because the disk is full, it is compiled all the same.
    """
    if (folder := cache_folder()) is not None:
        with suppress(OSError):  # of a signature: saved at once
            return _saved_in(folder, function, *signature, **options)
    return numba.njit(*signature, **options)(function)


class ByPackage(UserProvidedCacheLocator):
    """Where in `numba.config.CACHE_DIR` the code of a function is kept.

    numba names the place by the path of the source. Kernels have it by their package instead: the
    folder is named by what the sources say, so every copy of them may use it, be it another
    checkout, an installation, or what a cluster was sent.
    """

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """The folder of a source's code; numba asks with the path of the source."""
        source = Path(py_file).resolve()
        if source.is_relative_to(PACKAGE):
            return ".".join(source.parent.relative_to(PACKAGE.parent).parts)
        name: str = super().get_suitable_cache_subpath(py_file)
        return name


def _saved_in(folder: Path, function: Callable[..., Any], *signature: Any, **options: Any) -> Any:
    # numba reads these when it decorates; set back, so that no other user is affected
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
    """Ask for the cache line of `array.ravel()[index]` (C-contiguous); never faults."""
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
    """Ask for a row of a C-contiguous 2-D float32 table of `width` columns."""
    start = row * width
    # 16 floats a cache line; past 8 lines the hardware's own prefetcher has caught on
    for column in range(0, min(width, 128), 16):
        prefetch(table, start + column)
    prefetch(table, start + width - 1)  # where rows do not start at a line there is one more
