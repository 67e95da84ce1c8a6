"""Vigie: contact tracing that an app embeds.

The names are those of the library; `vigie_ffi` is generated of it. What is added here is the stream of events.

    tracer = await vigie.Tracer.open(vigie.Config(store_path=..., downloads_path=...), radio=MyRadio())
    await tracer.start()
    async for event in vigie.events(tracer):
        print(event)
"""

import asyncio
import weakref
from collections.abc import AsyncIterator

from . import vigie_ffi
from .vigie_ffi import *  # noqa: F403 - the library's own names

__all__ = [*vigie_ffi.__all__, "events"]

# Came while whoever waited for it was cancelled: for the next one who asks.
_left: "weakref.WeakKeyDictionary[vigie_ffi.Tracer, list[vigie_ffi.Event]]" = weakref.WeakKeyDictionary()


async def events(tracer: vigie_ffi.Tracer) -> AsyncIterator[vigie_ffi.Event]:
    """The events of a tracer until it is shut down. Let one part of a program take them: each is handed out once.

    Whoever stops iterating, or whose task is cancelled, stops waiting; what comes later waits for the next one who asks.
    """
    cancel = vigie_ffi.Cancel()
    left = _left.setdefault(tracer, [])
    try:
        while (event := left.pop(0) if left else await _next(tracer, cancel, left)) is not None:
            yield event
    finally:
        cancel.cancel()


async def _next(
    tracer: vigie_ffi.Tracer, cancel: vigie_ffi.Cancel, left: "list[vigie_ffi.Event]"
) -> "vigie_ffi.Event | None":
    """The next event. Where this is cancelled, the library is told, and what it may have handed out already is kept."""
    waiting = asyncio.ensure_future(tracer.next_event(cancel))
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        cancel.cancel()
        late = await waiting
        if late is not None:
            left.append(late)
        raise
