"""The scenario in Python. `cargo test -p ffi-tests` runs it; README.md explains the steps."""

import asyncio
import gc
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass, field

import vigie
from world import Control, Radio, Transport, Vault

PATIENCE_S = 60
LOOK_S = 0.02
SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS


class StepFailed(Exception):
    """A step did not do what it should."""


def word(event):
    """Event.RADIO_FAILED -> radio_failed."""
    return type(event).__name__.rpartition(".")[2].lower()


@dataclass
class Phone:
    folder: str
    servers: str | None
    clock: vigie.ManualClock
    vault: Vault | None
    radio: Radio = field(default_factory=Radio)
    events: list = field(default_factory=list)
    tracer: vigie.Tracer | None = None
    listener: asyncio.Task | None = None
    report: int | None = None
    is_running: bool = False

    async def open(self):
        os.makedirs(self.folder, exist_ok=True)
        config = vigie.Config(
            store_path=os.path.join(self.folder, "store.db"),
            downloads_path=os.path.join(self.folder, "downloads"),
            servers_json=self.servers,
        )
        transport = Transport() if self.servers else None
        self.tracer = await vigie.Tracer.open(config, radio=self.radio, transport=transport, vault=self.vault, clock=self.clock)
        self.listener = asyncio.create_task(self.listen())
        return self

    async def listen(self):
        async for event in vigie.events(self.tracer):
            self.events.append(event)

    async def close(self):
        await self.tracer.shut_down()
        await self.listener
        self.tracer = self.listener = None


class World:
    def __init__(self):
        self.control = Control()
        self.folder = os.environ["VIGIE_FOLDER"]
        self.scene = None
        self.phones = {}

    async def step(self, step):
        steps = [
            (r"scene (.+)", self.begin_scene),
            (r"phone (\w+)( with servers)?( sealed)?", self.open),
            (r"start (\w+)(?: fails (.+))?", self.start),
            (r"stop (\w+)", self.stop),
            (r"together (\d+) min", self.together),
            (r"apart (\d+) h", self.apart),
            (r"report (\w+)", self.make_report),
            (r"sync (\w+)( fails retry after)?", self.sync),
            (r"backend (publishes|down|up)", self.backend),
            (r"radio (\w+) (off|on)", self.switch_radio),
            (r"disk (\w+) (full|free)", self.fill_disk),
            (r"reopen (\w+)(?: sealed)?( with lost key)?", self.reopen),
            (r"erase (\w+)", self.erase),
            (r"(\w+) report waiting", self.report_waiting),
            (r"(\w+) report done", self.report_done),
            (r"(\w+) alert high", self.alert_high),
            (r"(\w+) no alert", self.no_alert),
            (r"(\w+) told (\w+)", self.told),
            (r"(\w+) radio problem (none|powered off)", self.radio_problem),
            (r"(\w+) encounters (\d+)\+", self.encounters),
        ]
        for pattern, method in steps:
            if match := re.fullmatch(pattern, step):
                return await method(*match.groups())
        raise StepFailed("nobody knows this step")

    async def begin_scene(self, name):
        await self.end_scene()
        self.scene = name

    async def end_scene(self):
        """Whatever was opened is ended, and nothing of it is left."""
        while self.phones:
            _, phone = self.phones.popitem()
            await phone.close()
            shutil.rmtree(phone.folder)
            del phone
        if self.scene is None:
            return
        await self.until(self.nothing_lives, "objects are left")
        print(f"scene {self.scene} ok", flush=True)
        self.scene = None

    async def nothing_lives(self):
        gc.collect()
        return vigie.live_objects() == 0

    async def open(self, name, servers, sealed):
        client = self.control.get("/client.json") if servers else None
        clock = vigie.ManualClock(int(self.control.get("/now")))
        self.phones[name] = await Phone(os.path.join(self.folder, name), client, clock, Vault() if sealed else None).open()

    async def reopen(self, name, lost):
        before = self.phones.pop(name)
        await before.close()
        vault = Vault() if lost else before.vault
        self.phones[name] = await Phone(before.folder, before.servers, before.clock, vault).open()

    async def start(self, name, expected):
        phone = self.phones[name]
        phone.is_running = True
        await self.fails(phone.tracer.start(), expected)

    async def fails(self, call, expected):
        found = None
        try:
            await call
        except vigie.VigieError.AdapterUnavailable:
            found = "adapter unavailable"
        except vigie.VigieError.RetryAfter:
            found = "retry after"
        except vigie.VigieError.Storage as error:
            found = f"storage {error.problem.name.lower()}"
        if found != expected:
            raise StepFailed(f"found {found}")

    async def stop(self, name):
        self.phones[name].is_running = False
        await self.phones[name].tracer.stop()

    async def make_report(self, name):
        code = self.control.post("/code")
        self.phones[name].report = await self.phones[name].tracer.report(code, vigie.ReportDetails())

    async def sync(self, name, expected):
        await self.fails(self.phones[name].tracer.sync(), "retry after" if expected else None)

    async def backend(self, what):
        self.control.post({"publishes": "/publish"}.get(what, "/" + what))

    async def switch_radio(self, name, how):
        self.phones[name].radio.switch(how == "off")

    async def fill_disk(self, name, how):
        self.control.post(f"/disk?folder={self.phones[name].folder}&full={'true' if how == 'full' else 'false'}")

    async def erase(self, name):
        self.phones[name].is_running = False
        if await self.phones[name].tracer.erase_everything():
            raise StepFailed("somebody else reads the store")

    async def together(self, minutes):
        for _ in range(int(minutes) // 5):
            scans = {name: phone.radio.scans for name, phone in self.phones.items()}
            self.advance(5 * MINUTE_MS)
            for name, phone in self.phones.items():
                await self.until(lambda: not phone.is_running or phone.radio.scans > scans[name], f"{name} does not scan")
            self.hear()
            self.advance(5 * SECOND_MS)
            for name, phone in self.phones.items():
                await self.until(lambda: not phone.is_running or not phone.radio.is_scanning, f"{name} scans on")

    def hear(self):
        now = int(self.control.get("/now"))
        for phone in self.phones.values():
            others = [other.radio.sent for other in self.phones.values() if other is not phone and other.radio.sent]
            if phone.radio.is_scanning:
                phone.radio.sink.heard(
                    [
                        vigie.ScanResult(service_data=sent.service_data, rssi=-55, at_ms=now + second * SECOND_MS, peer=None)
                        for sent in others
                        for second in range(4)
                    ]
                )

    async def apart(self, hours):
        for _ in range(int(hours)):
            self.advance(60 * MINUTE_MS)
            for phone in self.phones.values():
                await phone.tracer.status()

    def advance(self, ms):
        self.control.post(f"/advance?ms={ms}")
        for phone in self.phones.values():
            phone.clock.advance(ms)
            phone.tracer.wake()

    async def state(self, name):
        phone = self.phones[name]
        return next(report.state for report in await phone.tracer.reports() if report.id == phone.report)

    async def report_waiting(self, name):
        state = await self.state(name)
        if state.is_DONE() or state.is_REFUSED():
            raise StepFailed(f"found {state}")

    async def report_done(self, name):
        async def is_done():
            return (await self.state(name)).is_DONE()

        await self.while_time_passes(is_done, "the report is not done")

    async def alert_high(self, name):
        async def is_there():
            return any(alert.level == vigie.RiskLevel.HIGH for alert in await self.phones[name].tracer.alerts())

        await self.until(is_there, "there is no high alert")

    async def no_alert(self, name):
        if await self.phones[name].tracer.alerts():
            raise StepFailed("there is an alert")

    async def told(self, name, event):
        async def was_told():
            return any(word(found) == event for found in self.phones[name].events)

        await self.while_time_passes(was_told, "was not told")

    async def radio_problem(self, name, expected):
        problem = (await self.phones[name].tracer.status()).radio_problem
        found = "none" if problem is None else word(problem).replace("_", " ")
        if found != expected:
            raise StepFailed(f"found {found}")

    async def encounters(self, name, least):
        async def are_there():
            return (await self.phones[name].tracer.status()).encounters >= int(least)

        await self.until(are_there, f"not {least} encounters")

    async def until(self, holds, otherwise):
        """Waits until it holds, which is asked of a function or a coroutine function."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = holds()
            if (await found) if asyncio.iscoroutine(found) else found:
                return
            if time.monotonic() > end:
                raise StepFailed(otherwise)
            await asyncio.sleep(LOOK_S)

    async def while_time_passes(self, holds, otherwise):
        end = time.monotonic() + PATIENCE_S
        while not await holds():
            if time.monotonic() > end:
                raise StepFailed(otherwise)
            self.advance(5 * SECOND_MS)
            await asyncio.sleep(5 * LOOK_S)


async def main():
    world = World()
    with open(os.environ["VIGIE_SCENARIO"], encoding="utf-8") as scenario:
        for number, line in enumerate(scenario, 1):
            if step := line.split("#")[0].strip():
                try:
                    await world.step(step)
                except Exception as error:
                    print(f"line {number}: {step}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    # At once: the library's threads still call what an ordinary end would take away.
                    os._exit(1)
    await world.end_scene()


asyncio.run(main())
