"""A mail server that does what the file `mode` in its folder says, and keeps what it takes as N.eml there.

refuse      451 for every recipient
forbid      550 for every recipient
stall       no answer
disconnect  ends the connection in the middle
swallow     takes the mail and ends the connection before it says so
accept      takes the mail
"""

import asyncio
import itertools
import os
import pathlib
import sys

from aiosmtpd.smtp import SMTP

FOLDER, PORT = pathlib.Path(sys.argv[1]), int(sys.argv[2])
COUNT = itertools.count()


def mode():
    return (FOLDER / "mode").read_text()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        match mode():
            case "refuse":
                return "451 come again"
            case "forbid":
                return "550 nobody here"
            case "stall":
                await asyncio.sleep(3600)
            case "disconnect":
                server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        name = f"{os.getpid()}-{next(COUNT)}"
        part = FOLDER / f"{name}.part"
        part.write_bytes(envelope.rcpt_tos[0].encode() + b"\n" + envelope.content)
        part.rename(FOLDER / f"{name}.eml")
        if mode() == "swallow":
            server.transport.abort()
        return "250 OK"


async def main():
    make = lambda: SMTP(Handler(), hostname="mail.example.org")
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", PORT)
    await server.serve_forever()


asyncio.run(main())
