"""What the programs of this folder share: a simulated radio, HTTP and a key vault of the language's own, and the control server."""

import hashlib
import hmac
import os
import secrets
import urllib.error
import urllib.request
from http.client import HTTPException

import vigie

OFF = vigie.RadioProblem.POWERED_OFF()
KEPT_HEADERS = {"date", "etag", "retry-after", "content-range"}
TIMEOUT_S = 60


class Radio(vigie.Radio):
    """What it sends is looked at, and what it hears is handed to it."""

    def __init__(self):
        self.sink = None
        self.sent = None
        self.is_scanning = False
        self.scans = 0
        self.is_off = False

    def attach(self, sink):
        self.sink = sink

    def detach(self):
        self.sink = None

    def start_scanning(self, services):
        if self.is_off:
            raise vigie.RadioError.Problem(OFF)
        self.is_scanning = True
        self.scans += 1

    def stop_scanning(self):
        self.is_scanning = False

    def advertise(self, advertisement):
        self.sent = None
        if self.is_off:
            raise vigie.RadioError.Problem(OFF)
        self.sent = advertisement

    def stop_advertising(self):
        self.sent = None

    def exchange(self, peer, service, write_back):
        raise vigie.RadioError.Problem(vigie.RadioProblem.UNSUPPORTED())

    def switch(self, is_off):
        """The user switches it off, or on again."""
        self.is_off = is_off
        if is_off:
            self.sent, self.is_scanning = None, False
            self.sink.scanning_failed(OFF)
            self.sink.advertising_failed(OFF)


class Transport(vigie.Transport):
    """The standard library's HTTP, without a proxy: everything here is on this machine."""

    def __init__(self):
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def exchange(self, request):
        asked = urllib.request.Request(request.url, data=request.body)
        for header in request.headers:
            asked.add_header(header.name, header.value)
        try:
            with self.opener.open(asked, timeout=TIMEOUT_S) as answer:
                return self.read(answer, request)
        except urllib.error.HTTPError as answer:
            with answer:
                return self.read(answer, request)
        except TimeoutError:
            raise vigie.TransportError.Problem(vigie.TransportProblem.TIMED_OUT)
        except (OSError, HTTPException):
            raise vigie.TransportError.Problem(vigie.TransportProblem.FAILED)

    def read(self, answer, request):
        headers = [vigie.HttpHeader(name=name.lower(), value=value) for name, value in answer.headers.items() if name.lower() in KEPT_HEADERS]
        body = b""
        if request.file is not None and answer.status in (200, 206):
            with open(request.file, "ab" if answer.status == 206 else "wb") as file:
                while piece := answer.read(16_384):
                    if file.tell() + len(piece) > request.limit:
                        raise vigie.TransportError.Problem(vigie.TransportProblem.TOO_LARGE)
                    file.write(piece)
        else:
            body = answer.read(request.limit + 1 if request.file is None else 65_536)
            if request.file is None and len(body) > request.limit:
                raise vigie.TransportError.Problem(vigie.TransportProblem.TOO_LARGE)
        return vigie.HttpResponse(status=answer.status, headers=headers, body=body)

    def cancel(self):
        pass


class Vault(vigie.KeyVault):
    """Stands in memory. The standard library has no cipher: the data key is masked with a hash, and authenticated."""

    def __init__(self):
        self.key = secrets.token_bytes(32)

    def wrap(self, data_key):
        nonce = secrets.token_bytes(16)
        masked = bytes(a ^ b for a, b in zip(data_key, self.mask(nonce)))
        return nonce + masked + self.tag(nonce + masked)

    def unwrap(self, wrapped):
        content, tag = wrapped[:-32], wrapped[-32:]
        if not hmac.compare_digest(tag, self.tag(content)):
            raise vigie.VaultError.Problem(vigie.VaultProblem.KEY_LOST)
        return bytes(a ^ b for a, b in zip(content[16:], self.mask(content[:16])))

    def mask(self, nonce):
        return hashlib.sha256(self.key + nonce).digest()

    def tag(self, content):
        return hmac.digest(self.key, content, "sha256")


class Control:
    """The backend of the scenario, and what moves it."""

    def __init__(self):
        self.url = os.environ["VIGIE_CONTROL"]
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path):
        with self.opener.open(self.url + path, timeout=TIMEOUT_S) as answer:
            return answer.read().decode()

    def post(self, path):
        with self.opener.open(urllib.request.Request(self.url + path, method="POST"), timeout=TIMEOUT_S) as answer:
            return answer.read().decode()

