"""Make the next piece while the caller works on the current one.

with contextlib.closing(ahead(slabs)) as pieces: ...
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
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
