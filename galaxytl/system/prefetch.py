"""Make the next pieces while the caller works on the current one.

with contextlib.closing(ahead(slabs)) as pieces: ...
with contextlib.closing(in_order(pool, read, names, lambda: 8)) as contents: ...
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END: Any = object()


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield all of `items`; one background thread makes the next, so that two exist at a time and no more.

    Errors of `items` arrive here. Closing this generator waits for the thread and closes `items`.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        coming: Future[Item] = thread.submit(next, items, _END)
        try:
            while True:
                item = coming.result()
                if item is _END:
                    return
                coming = thread.submit(next, items, _END)
                yield item
                del item  # or three would exist while we wait
        finally:
            coming.cancel()
            thread.shutdown()  # its last piece is finished first: a generator cannot be closed while it runs
            if close := getattr(items, "close", None):
                close()


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], most: Callable[[], int]
) -> Generator[Result, None, None]:
    """Yield the result of `work` for each item, in order; at most `most()`, or one, are made or wait at a time.

    Errors of `work` arrive here. Closing this generator, or an error, waits for those that are being made.
    """
    coming: deque[Future[Result]] = deque()
    try:
        for item in items:
            coming.append(pool.submit(work, item))
            while len(coming) >= max(1, most()):
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        for future in coming:
            future.cancel()
