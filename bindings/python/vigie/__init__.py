"""Vigie: contact tracing that an app embeds.

The names are those of the library; `vigie_ffi` is generated of it. What is added here is the stream of events.

    tracer = await vigie.Tracer.open(vigie.Config(store_path=..., downloads_path=...), radio=MyRadio())
    await tracer.start()
    async for event in vigie.events(tracer):
        print(event)
"""

from collections.abc import AsyncIterator

from . import vigie_ffi
from .vigie_ffi import *  # noqa: F403 - the library's own names

__all__ = [*vigie_ffi.__all__, "events"]


async def events(tracer: vigie_ffi.Tracer) -> AsyncIterator[vigie_ffi.Event]:
    """The events of a tracer until it is shut down. Let one part of a program take them: each is handed out once.

    Whoever stops iterating, or whose task is cancelled, stops waiting; what comes later waits for the next one who asks.
    """
    cancel = vigie_ffi.Cancel()
    try:
        while (event := await tracer.next_event(cancel)) is not None:
            yield event
    finally:
        cancel.cancel()
