"""threats.md T28: an image's URL leads to the public internet, or nowhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from og_mcp.client.images.answer import MAX_BYTES
from og_mcp.client.images.fetch import ImageFetch, Pinned
from og_mcp.client.images.images import Images
from og_mcp.client.wire.public_address import is_public, parse
from og_mcp.errors import ImageRefusedError
from tests.client.tls_server import issue

FILE = b"\x89PNG\r\n\x1a\n, and so on"


@dataclass
class Hosts:
    """A resolver that says what the test wants, and remembers what it was asked."""

    known: Mapping[str, Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.known:
            raise OSError(f"{host}:{port} is not known")
        return list(self.known[host])


@dataclass
class Site:
    """A running HTTP server."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    """Heads, as they came."""

    pages: dict[str, bytes] = field(default_factory=dict)
    """Path -> the whole answer; after one that is empty the connection stays silent."""


def answer(body: bytes = FILE, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, f"Location: {to}", "Set-Cookie: a=b")


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    site, over = Site(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        site.requests.append(head)
        reply = site.pages[head.split()[1].decode()]
        if not reply:
            await over.wait()
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site
        over.set()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as site:
        yield site


@pytest.fixture
def hosts() -> Hosts:
    return Hosts(
        {
            "here.test": ["127.0.0.1"],
            "private.test": ["10.0.0.7"],
            "both.test": ["93.184.216.34", "10.0.0.7"],
            "mixed.test": ["127.0.0.1", "192.168.1.1"],
            "public.test": ["93.184.216.34"],
            "metadata.test": ["169.254.169.254"],
            "nowhere.test": [],
        }
    )


async def refusal(fetch: ImageFetch, url: str, gateway: Pinned | None = None) -> str:
    with pytest.raises(ImageRefusedError) as caught:
        await fetch.fetch(url, gateway)
    return caught.value.what


async def test_an_image_comes_as_it_is_by_a_request_that_tells_nothing(
    site: Site, hosts: Hosts
) -> None:
    site.pages["/a.png?b=c"] = answer()

    file = await ImageFetch(local=True, resolver=hosts).fetch(
        f"http://here.test:{site.port}/a.png?b=c#d"
    )

    assert file == FILE
    (request,) = site.requests
    names = {line.partition(b":")[0].lower() for line in request.splitlines()[1:-1]}
    assert names == {b"host", b"user-agent", b"accept", b"accept-encoding", b"connection"}
    assert f"Host: here.test:{site.port}\r\n".encode() in request


async def test_t28_a_host_is_looked_up_once_and_that_very_address_is_asked(site: Site) -> None:
    class Rebinding(Hosts):
        async def __call__(self, host: str, port: int) -> list[str]:
            await super().__call__(host, port)
            return ["127.0.0.1"] if len(self.asked) == 1 else ["10.0.0.7"]

    hosts = Rebinding({"here.test": []})
    site.pages["/"] = answer()

    assert await ImageFetch(local=True, resolver=hosts).fetch(f"http://here.test:{site.port}/")
    assert hosts.asked == ["here.test"]


@pytest.mark.parametrize(
    "host",
    ["private.test", "both.test", "metadata.test", "nowhere.test", "here.test", "mixed.test"],
)
@pytest.mark.parametrize("local", [False, True])
async def test_t28_a_host_with_any_address_that_is_not_public_is_not_asked(
    site: Site, hosts: Hosts, host: str, local: bool
) -> None:
    fetch = ImageFetch(local=local, resolver=hosts)
    if local and host == "here.test":
        return

    assert "has no public address" in await refusal(fetch, f"https://{host}:{site.port}/")
    assert site.requests == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0", "017700000001"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]"),
        *("10.1.2.3", "169.254.169.254", "[fe80::1]", "[fd00::1]", "[2002:7f00:1::]"),
    ],
)
async def test_t28_no_spelling_of_a_private_address_is_asked(site: Site, host: str) -> None:
    for scheme in ("https", "http"):
        said = await refusal(ImageFetch(), f"{scheme}://{host}:{site.port}/")

        # A system may not read every one of these spellings as an address.
        assert "has no public address" in said or "is not known" in said
    assert site.requests == []


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.1", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.8.9.1", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:10.0.0.1"),
        *("64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:db8::1"),
        *("2002:a00:1::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd12::1"),
        *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1"),
    ],
)
def test_t28_what_is_not_public_is_known(text: str) -> None:
    assert not is_public(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        *("8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"),
        *("64:ff9b::8.8.8.8", "2a00:1450::1"),
    ],
)
def test_what_is_public_is_known(text: str) -> None:
    assert is_public(parse(text))


async def test_t28_plain_http_is_for_this_machine_alone_and_on_the_local_network_alone(
    site: Site, hosts: Hosts
) -> None:
    for local in (False, True):
        fetch = ImageFetch(local=local, resolver=hosts)
        assert "https alone" in await refusal(fetch, "http://public.test/")
    assert "no public address" in await refusal(
        ImageFetch(resolver=hosts), f"http://here.test:{site.port}/"
    )


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://public.test/a", "gopher://public.test/", "//public.test/"),
        *("https:///a", "https://me@public.test/", "https://me:secret@public.test/", "public.test"),
        *("https://public.test:99999/", "https://pub\x00lic.test/", "", "https://[::1/"),
    ],
)
async def test_what_is_no_plain_web_address_is_not_looked_up(hosts: Hosts, url: str) -> None:
    said = await refusal(ImageFetch(local=True, resolver=hosts), url)

    assert "secret" not in said
    assert hosts.asked == []


async def test_redirects_are_followed_three_times(site: Site, hosts: Hosts) -> None:
    fetch = ImageFetch(local=True, resolver=hosts)
    site.pages["/3"] = answer()
    for step, status in enumerate(("301 M", "303 S", "307 T")):
        site.pages[f"/{step}"] = redirect(f"/{step + 1}", status)

    assert await fetch.fetch(f"http://here.test:{site.port}/0") == FILE
    assert len(site.requests) == 4
    assert not any(b"cookie" in request.lower() for request in site.requests)

    site.pages["/3"] = redirect("/4")
    assert "redirects more than 3 times" in await refusal(fetch, f"http://here.test:{site.port}/0")


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("https://private.test/x", "no public address"),
        ("//metadata.test/latest", "no public address"),
        ("http://public.test/", "https alone"),
        ("http://me:secret@here.test/", "credentials"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("https://unknown.test/", "is not known"),
        ("http://[::1/", "cannot be fetched"),
    ],
)
async def test_t28_every_hop_is_judged_as_the_first_is(
    site: Site, hosts: Hosts, to: str, says: str
) -> None:
    site.pages["/"] = redirect(to)
    fetch = ImageFetch(local=True, resolver=hosts)

    assert says in await refusal(fetch, f"http://here.test:{site.port}/")


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (answer(b"", "404 Not Found"), "answered 404"),
        (answer(b"", "204 No Content"), "answered 204"),
        (answer(b"", "302 Found"), "to nowhere"),
        (answer(FILE, "200 OK", "Content-Encoding: gzip"), "an encoding that was not asked for"),
        (answer()[:-3], "cannot be fetched"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "cannot be fetched"),
        (answer(bytes(MAX_BYTES + 1)), "is longer than"),
    ],
    ids=["404", "204", "no location", "gzip", "cut off", "no http", "long"],
)
async def test_what_is_not_a_whole_file_is_refused(
    site: Site, hosts: Hosts, page: bytes, says: str
) -> None:
    site.pages["/"] = page
    fetch = ImageFetch(local=True, resolver=hosts)

    assert says in await refusal(fetch, f"http://here.test:{site.port}/")


async def test_a_server_that_stays_silent_is_given_up(site: Site, hosts: Hosts) -> None:
    site.pages["/"] = b""
    fetch = ImageFetch(local=True, resolver=hosts, limit_s=0.2)

    assert "within 0.2 s" in await refusal(fetch, f"http://here.test:{site.port}/")


async def test_all_images_of_an_answer_have_one_limit_of_time(
    site: Site, hosts: Hosts, tmp_path: Path
) -> None:
    urls = [f"http://here.test:{site.port}/{n}" for n in range(8)]
    site.pages.update(dict.fromkeys((f"/{n}" for n in range(8)), b""))
    fetch = ImageFetch(local=True, resolver=hosts, limit_s=2)
    images = Images(tmp_path, local=True, fetch=fetch, all_s=0.5)

    # One after the other they would take 16 s.
    with anyio.fail_after(8), pytest.raises(ImageRefusedError, match=r"within 0\.\d+ s"):
        await images.keep({"images": urls}, "local")


async def test_t28_proxies_of_the_environment_are_not_used(
    site: Site, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        site.pages["/"] = answer()

        assert await ImageFetch(local=True, resolver=hosts).fetch(f"http://here.test:{site.port}/")
        assert proxy.requests == []


async def test_the_certificate_has_to_be_the_hosts_and_not_the_addresses(hosts: Hosts) -> None:
    authority = issue("An authority", ca=True)
    certificate = issue("here.test", authority)
    tls = ssl.create_default_context(
        cadata=authority.certificate.public_bytes(Encoding.PEM).decode()
    )
    # The certificates of these tests carry their name where Python looks only when it is told to.
    tls.hostname_checks_common_name = True
    hosts.known = {**hosts.known, "other.test": ["127.0.0.1"]}
    fetch = ImageFetch(local=True, resolver=hosts, tls=tls)
    async with serving(certificate.context(authority)) as site:
        site.pages["/"] = answer()

        assert await fetch.fetch(f"https://here.test:{site.port}/") == FILE
        for host in ("other.test", "127.0.0.1"):
            hosts.known = {**hosts.known, "127.0.0.1": ["127.0.0.1"]}
            said = await refusal(fetch, f"https://{host}:{site.port}/")
            assert "cannot be fetched" in said
        strangers = ImageFetch(local=True, resolver=hosts)
        assert "cannot be fetched" in await refusal(strangers, f"https://here.test:{site.port}/")
    assert len(site.requests) == 1


async def test_the_gateways_own_images_come_by_its_registered_certificate(hosts: Hosts) -> None:
    own, other = issue("A gateway"), issue("Another gateway")
    fetch = ImageFetch(local=True, resolver=hosts)
    async with serving(own.context()) as site:
        site.pages["/"] = answer()
        origin = f"https://here.test:{site.port}"

        assert await fetch.fetch(f"{origin}/", Pinned(origin, own.der)) == FILE
        for pinned in (
            Pinned(origin, other.der),
            Pinned(f"https://here.test:{site.port + 1}", own.der),
        ):
            assert "cannot be fetched" in await refusal(fetch, f"{origin}/", pinned)
        assert "no public address" in await refusal(
            ImageFetch(resolver=hosts), f"{origin}/", Pinned(origin, own.der)
        )
