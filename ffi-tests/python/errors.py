"""What an app sees of each error, what cancelling does, and that nothing is left. `cargo test -p ffi-tests` runs it."""

import asyncio
import gc
import os
import shutil
import sqlite3
import tempfile
import time

import vigie
from world import Control, Radio, Transport, Vault

SOURCES = os.path.join(os.path.dirname(__file__), "..", "..", "core", "src")
LAUNCH_MS = 1_603_389_600_000
# How often tracing is started and stopped while those who wait for events come and go.
TURNS = 100
GOOD_FORM = dict(national_number="1990010112345", contact="ada@example.org", consent=True, language=vigie.Language.FRENCH)


class Place:
    """A folder for a store below that of the test, where the disk can be full."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(dir=os.environ["VIGIE_FOLDER"])
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def config(self, **others):
        store = os.path.join(self.folder, "store.db")
        return vigie.Config(store_path=store, downloads_path=os.path.join(self.folder, "downloads"), **others)


async def raises(error, call, **fields):
    """This call raises this error with these fields, and no other."""
    try:
        found = await call
    except error as raised:
        for name, value in fields.items():
            assert getattr(raised, name) == value, f"{name}: {getattr(raised, name)}"
        return raised
    raise AssertionError(f"found {found}")


def refuses(error, call, **fields):
    async def as_coroutine():
        return call()

    return raises(error, as_coroutine(), **fields)


async def lives_for_an_hour(tracer, clock):
    """So that there are keys to be reported: an identifier was sent for its whole time."""
    for _ in range(3):
        clock.advance(20 * 60_000)
        tracer.wake()
        while not (await asyncio.wait_for(tracer.next_event(), 60)).is_ROTATED():
            pass


async def permission_needed():
    class Forbidden(Radio):
        def start_scanning(self, services):
            raise vigie.RadioError.Problem(vigie.RadioProblem.PERMISSION_NEEDED())

    with Place() as place:
        tracer = await vigie.Tracer.open(place.config(), radio=Forbidden())
        await raises(vigie.VigieError.PermissionNeeded, tracer.start(), permission=vigie.Permission.BLUETOOTH)
        assert (await tracer.status()).tracing == vigie.Tracing.RUNNING, "it is wanted all the same"
        await tracer.shut_down()


async def adapter_unavailable_whatever_a_radio_throws():
    class Broken(Radio):
        def start_scanning(self, services):
            raise ValueError("nobody thought of this")

    with Place() as place:
        tracer = await vigie.Tracer.open(place.config(), radio=Broken())
        await raises(vigie.VigieError.AdapterUnavailable, tracer.start())
        assert (await tracer.status()).radio_problem == vigie.RadioProblem.FAILED(code=0)
        await tracer.shut_down()


async def retry_after_while_another_tracer_has_the_store():
    with Place() as place:
        tracer = await vigie.Tracer.open(place.config())
        error = await raises(vigie.VigieError.RetryAfter, vigie.Tracer.open(place.config()))
        assert error.seconds > 0
        await tracer.shut_down()
        again = await vigie.Tracer.open(place.config())
        await again.shut_down()


async def retry_after_while_the_vault_is_locked():
    class Lockable(Vault):
        is_locked = False

        def unwrap(self, wrapped):
            if self.is_locked:
                raise vigie.VaultError.Problem(vigie.VaultProblem.LOCKED)
            return super().unwrap(wrapped)

    with Place() as place:
        vault = Lockable()
        await (await vigie.Tracer.open(place.config(), vault=vault)).shut_down()
        vault.is_locked = True
        await raises(vigie.VigieError.RetryAfter, vigie.Tracer.open(place.config(), vault=vault))
        await raises(vigie.VigieError.InputInvalid, vigie.Tracer.open(place.config()), input=vigie.Input.KEY_VAULT())


async def wrong_input_is_named():
    Invalid, Input = vigie.VigieError.InputInvalid, vigie.Input
    control = Control()
    with Place() as place:
        await raises(Invalid, vigie.Tracer.open(place.config(servers_json="{")), input=Input.SERVERS())
        await raises(Invalid, vigie.Tracer.open(place.config(exposure_json='{"high_risk_score": "much"}')), input=Input.EXPOSURE())
        with open(os.path.join(place.folder, "store.db"), "wb") as file:
            file.write(b"something else" * 100)
        await raises(Invalid, vigie.Tracer.open(place.config()), input=Input.STORE_PATH())
        os.remove(os.path.join(place.folder, "store.db"))
        await refuses(Invalid, lambda: vigie.group_recovery_code("0"), input=Input.RECOVERY_CODE())
        await refuses(Invalid, lambda: vigie.rolling_proximity_identifier(b"short", 0), input=Input.BYTES())

        without = await vigie.Tracer.open(place.config())
        await raises(Invalid, without.sync(), input=Input.SERVERS())
        await raises(Invalid, without.sign_up(vigie.SignUpForm(**GOOD_FORM), vigie.new_recovery_code()), input=Input.SERVERS())
        await raises(Invalid, without.acknowledge_alert(b"1"), input=Input.ALERT())
        await without.shut_down()
    with Place() as place:
        clock = vigie.ManualClock(int(control.get("/now")))
        config = place.config(servers_json=control.get("/client.json"))
        tracer = await vigie.Tracer.open(config, radio=Radio(), transport=Transport(), clock=clock)
        await raises(Invalid, tracer.report("1", vigie.ReportDetails()), input=Input.VERIFICATION_CODE())
        await tracer.start()
        await lives_for_an_hour(tracer, clock)
        control.post("/down")
        await tracer.report(control.post("/code"), vigie.ReportDetails())
        await raises(Invalid, tracer.report(control.post("/code"), vigie.ReportDetails()), input=Input.REPORT())
        control.post("/up")
        await raises(Invalid, tracer.withdraw_sign_up(1), input=Input.SIGN_UP())
        wrong = {
            vigie.Field.NATIONAL_NUMBER: dict(national_number="?"),
            vigie.Field.CONTACT: dict(contact="nobody"),
            vigie.Field.CONSENT: dict(consent=False),
            vigie.Field.NAME: dict(name=""),
            vigie.Field.BIRTH_YEAR: dict(birth_year=1600),
        }
        good = dict(GOOD_FORM, name="Ada Lovelace", birth_year=1990)
        for field, change in wrong.items():
            form = vigie.SignUpForm(**(good | change))
            await raises(Invalid, tracer.sign_up(form, vigie.new_recovery_code()), input=Input.FORM(field=field))
        code = vigie.new_recovery_code()
        await tracer.sign_up(vigie.SignUpForm(**good), code)
        await raises(Invalid, tracer.sign_up(vigie.SignUpForm(**good), code), input=Input.RECOVERY_CODE())
        await tracer.shut_down()


async def storage_full_newer_and_corrupt():
    Storage, Problem = vigie.VigieError.Storage, vigie.StorageProblem
    with Place() as place:
        tracer = await vigie.Tracer.open(place.config(), radio=Radio())
        Control().post(f"/disk?folder={place.folder}&full=true")
        await raises(Storage, tracer.start(), problem=Problem.FULL)
        Control().post(f"/disk?folder={place.folder}&full=false")
        await tracer.start()
        await tracer.shut_down()
        with sqlite3.connect(os.path.join(place.folder, "store.db")) as database:
            database.execute("PRAGMA user_version = 1000")
        database.close()
        await raises(Storage, vigie.Tracer.open(place.config()), problem=Problem.NEWER)


async def internal_after_the_end_and_twice_is_no_error():
    with Place() as place:
        tracer = await vigie.Tracer.open(place.config())
        await tracer.shut_down()
        await tracer.shut_down()
        await raises(vigie.VigieError.Internal, tracer.status(), code=2)
        assert await tracer.next_event() is None


async def a_panic_arrives_and_the_background_goes_on():
    class Wild(vigie.Clock):
        throws = False

        def read(self):
            if self.throws:
                raise ValueError("a clock that throws")
            passed_ms = int(time.monotonic() * 1000)
            return vigie.ClockReadings(now_ms=LAUNCH_MS + passed_ms, monotonic_ms=passed_ms)

    with Place() as place:
        clock = Wild()
        tracer = await vigie.Tracer.open(place.config(), radio=Radio(), clock=clock)
        await tracer.start()
        clock.throws = True
        await raises(vigie.InternalError, tracer.status())
        tracer.wake()
        await asyncio.sleep(0.5)
        clock.throws = False
        restarted = False
        while not restarted:
            event = await asyncio.wait_for(tracer.next_event(), 60)
            restarted = event.is_RESTARTED() and event.task == vigie.Task.TRACING
        while not (status := await tracer.status()).is_sending:
            tracer.wake()
            await asyncio.sleep(0.05)
        assert status.restarts >= 1
        await tracer.shut_down()


async def cancelling_ends_a_check_and_the_waiting_for_events():
    with Place() as place:
        tracer = await vigie.Tracer.open(place.config())
        cancel = vigie.Cancel()
        cancel.cancel()
        report = await tracer.check([os.path.join(place.folder, "no.zip")] * 100, cancel)
        assert all(file.status.is_UNFINISHED() for file in report.files)
        report = await tracer.check([os.path.join(place.folder, "no.zip")])
        assert report.files[0].status.is_REFUSED()
        assert await tracer.next_event(cancel) is None
        waiting = asyncio.create_task(anext(aiter(vigie.events(tracer))))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await raises(asyncio.CancelledError, waiting)
        await tracer.start()
        assert (await asyncio.wait_for(tracer.next_event(), 60)).is_TRACING_CHANGED(), "what comes later is for the next one"
        await tracer.shut_down()


async def no_event_is_lost_or_comes_twice_however_often_waiting_is_cancelled():
    with Place() as place:
        tracer = await vigie.Tracer.open(place.config(), radio=Radio())
        found = []

        async def collect():
            async for event in vigie.events(tracer):
                if event.is_TRACING_CHANGED():
                    found.append(event.tracing)

        async def use():
            for _ in range(TURNS):
                await tracer.start()
                await tracer.stop()

        using = asyncio.create_task(use())
        while len(found) < 2 * TURNS:
            collecting = asyncio.create_task(collect())
            await asyncio.sleep(0.002)
            collecting.cancel()
            await raises(asyncio.CancelledError, collecting)
        await using
        assert found == [vigie.Tracing.RUNNING, vigie.Tracing.STOPPED] * TURNS, found
        await tracer.shut_down()


async def what_nobody_holds_any_more_ends_by_itself():
    with Place() as place:
        radio = Radio()
        tracer = await vigie.Tracer.open(place.config(), radio=radio)
        await tracer.start()
        while not (await tracer.status()).is_sending:
            await asyncio.sleep(0.02)
        del tracer
        gc.collect()
        for _ in range(1_000):
            if radio.sink is None and radio.sent is None and vigie.live_objects() == 0:
                break
            await asyncio.sleep(0.01)
        assert radio.sink is None and radio.sent is None, "the radio falls silent and is let go of"
        again = None
        for _ in range(1_000):
            try:
                again = await vigie.Tracer.open(place.config())
                break
            except vigie.VigieError.RetryAfter:
                await asyncio.sleep(0.01)  # its store is closed a moment later
        await again.shut_down()


async def who_is_woken_asks_only_when_it_is_due_and_who_is_waited_for_at_once():
    control = Control()

    class Counting(Transport):
        asked = 0

        def exchange(self, request):
            self.asked += 1
            return super().exchange(request)

    with Place() as place:
        clock = vigie.ManualClock(int(control.get("/now")))
        config = place.config(servers_json=control.get("/client.json"))
        transport = Counting()
        tracer = await vigie.Tracer.open(config, transport=transport, clock=clock)
        await tracer.sync()
        asked = transport.asked
        assert asked > 0
        report = await tracer.sync(is_awaited=False)
        assert transport.asked == asked and len(report.key_lists) == 1 and not report.was_cancelled
        await tracer.sync()
        assert transport.asked > asked
        await tracer.shut_down()


async def a_report_that_is_cancelled_was_made_or_was_not():
    control = Control()
    with Place() as place:
        clock = vigie.ManualClock(int(control.get("/now")))
        config = place.config(servers_json=control.get("/client.json"))
        tracer = await vigie.Tracer.open(config, radio=Radio(), transport=Transport(), clock=clock)
        await tracer.start()
        await lives_for_an_hour(tracer, clock)
        reporting = asyncio.create_task(tracer.report(control.post("/code"), vigie.ReportDetails()))
        await asyncio.sleep(0)
        reporting.cancel()
        await raises(asyncio.CancelledError, reporting)
        await tracer.shut_down()
        again = await vigie.Tracer.open(config, radio=Radio(), transport=Transport(), clock=clock)
        reports = await again.reports()
        assert len(reports) <= 1 and not any(report.state.is_REFUSED() for report in reports), reports
        await again.shut_down()


async def what_is_private_is_not_printed():
    form = vigie.SignUpForm(**GOOD_FORM)
    result = vigie.ScanResult(service_data=b"secret", rssi=-60, at_ms=0, peer="11:22:33")
    for text in (str(form), repr(form), str(result), repr(result)):
        assert not any(word in text for word in ("1990010112345", "ada@", "secret", "11:22")), text


async def published_vectors_hold():
    """The file of the core's own test: offset from the rolling start, identifier, metadata."""
    key, start = bytes.fromhex("75c734c6dd1a782de7a965da5eb93125"), 2_642_976
    count = 0
    with open(os.path.join(SOURCES, "keys", "vectors.txt"), encoding="utf-8") as vectors:
        for line in vectors:
            if line.startswith("#") or not line.strip():
                continue
            offset, identifier, metadata = line.split()
            interval = start + int(offset)
            assert vigie.rolling_proximity_identifier(key, interval).hex() == identifier
            assert vigie.associated_encrypted_metadata(key, interval, bytes.fromhex("40080000")).hex() == metadata
            count += 1
    assert count == 144, count


async def a_database_of_the_first_version_opens():
    with Place() as place:
        shutil.copy(os.path.join(SOURCES, "store", "tests", "version_1.db"), os.path.join(place.folder, "store.db"))
        tracer = await vigie.Tracer.open(place.config(), clock=vigie.ManualClock(LAUNCH_MS))
        status = await tracer.status()
        assert (status.own_keys, status.encounters) == FIRST_VERSION, status
        await tracer.shut_down()


FIRST_VERSION = (1, 3)


async def main():
    tests = [
        permission_needed,
        adapter_unavailable_whatever_a_radio_throws,
        retry_after_while_another_tracer_has_the_store,
        retry_after_while_the_vault_is_locked,
        wrong_input_is_named,
        storage_full_newer_and_corrupt,
        internal_after_the_end_and_twice_is_no_error,
        a_panic_arrives_and_the_background_goes_on,
        cancelling_ends_a_check_and_the_waiting_for_events,
        no_event_is_lost_or_comes_twice_however_often_waiting_is_cancelled,
        what_nobody_holds_any_more_ends_by_itself,
        who_is_woken_asks_only_when_it_is_due_and_who_is_waited_for_at_once,
        a_report_that_is_cancelled_was_made_or_was_not,
        what_is_private_is_not_printed,
        published_vectors_hold,
        a_database_of_the_first_version_opens,
    ]
    for test in tests:
        await test()
        end = time.monotonic() + 60
        while vigie.live_objects() > 0:
            gc.collect()
            assert time.monotonic() < end, f"{test.__name__}: {vigie.live_objects()} objects are left"
            await asyncio.sleep(0.02)
        print(f"{test.__name__} ok", flush=True)


asyncio.run(main())
