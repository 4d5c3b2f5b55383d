"""Secrets: masked in every log record, and in no error, result or process in the first place."""

from __future__ import annotations

import base64
import io
import json
import logging
import secrets
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from og_mcp import redaction
from og_mcp.client import Session, Timeouts
from og_mcp.client.chain.wallet import Wallet
from og_mcp.errors import ConfigurationError, OGError, ServiceError
from og_mcp.networks import NETWORKS, OPENGRADIENT
from og_mcp.redaction import Redaction, secrets_in, url_secrets
from og_mcp.settings import Settings, WalletSource
from tests.cli.program import inside
from tests.localnet_client import LocalNetwork
from tests.server_process import END_S, ending, run, start

KEY = "0x" + "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
BASE_KEY = "0x" + "4646" * 16
API_KEY = "k7Qz9f3LmX2bV8nR4tYw"
QUERY_KEY = "q-Jh5Gd8Sa1Kx0Zc6Vb9"
PASSWORD = "p4ss-w0rd-of-the-hub"
KEYSTORE_PASSWORD = "p4ss-w0rd-of-the-keystore"
RPC_PASSWORD = "p4ss-w0rd-of-the-rpc"
JOURNAL_PASSWORD = "p4ss-w0rd-of-the-journal"
FIREBASE = "AIzaSyFirebaseKeyOfTests01234"
TOKEN = "t0ken-of-the-http-server"
SECRETS = (
    *(KEY, BASE_KEY, API_KEY, QUERY_KEY, PASSWORD, KEYSTORE_PASSWORD),
    *(RPC_PASSWORD, JOURNAL_PASSWORD, FIREBASE, TOKEN),
)

CHAIN = {"chain_id": OPENGRADIENT.chain_id, "transaction_hash": "0x" + "11" * 32}
RECEIPT = {
    **dict.fromkeys(("call_id", "network", "tool", "created_at", "request_hash"), "x"),
    "schema": "og-mcp/receipt/1",
    "chain": CHAIN,
}
"""Enough of a receipt for the chain to be asked about it."""


def forms(secret: str) -> list[str]:
    """Give the ways that a secret may be written in, all in small letters."""
    found = [secret.removeprefix("0x"), quote(secret, safe=""), repr(secret)[1:-1]]
    if secret.startswith("0x") and len(secret) == 66:
        raw = bytes.fromhex(secret[2:])
        found += [str(int(secret, 16)), repr(raw)[2:-1], base64.b64encode(raw).decode()]
    return [form.lower() for form in found]


def leaked(text: str, secrets: tuple[str, ...] = SECRETS) -> list[str]:
    return [s for s in secrets if any(form in text.lower() for form in forms(s))]


def everything_in(error: BaseException) -> str:
    """Write an error in every way, with all that led to it."""
    told, waiting, seen = [], [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        told += [str(one), repr(one), repr(one.args), *traceback.format_exception(one)]
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause]
        waiting += getattr(one, "exceptions", ())
    return "\n".join(told)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a handler writes that listens to everything at DEBUG, once the filter is installed."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    before, level = list(logging.root.handlers), logging.root.level
    hooks = sys.excepthook, threading.excepthook
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.DEBUG)
    redaction.install(SECRETS)
    yield stream
    sys.excepthook, threading.excepthook = hooks
    logging.root.handlers = before
    logging.root.setLevel(level)


@given(st.integers(1, 2**255))
def test_a_key_is_masked_in_every_form(number: int) -> None:
    key = f"0x{number:064x}"
    raw = number.to_bytes(32, "big")
    texts = (key, key[2:], key.upper(), str(number), repr(raw), base64.b64encode(raw).decode())

    for text in texts:
        masked = Redaction([key]).mask(f"before {text}, after")

        assert leaked(masked, (key,)) == []
        assert masked.startswith("before ")
        assert masked.endswith(", after")


@given(st.text(min_size=1).filter(str.strip))
def test_a_password_is_masked_whatever_it_is_made_of(password: str) -> None:
    redact = Redaction([password])

    for text in (password, repr(password)[1:-1], json.dumps(password)[1:-1]):
        assert redact.mask(f" {text} ") == f" {redaction.MASK} "


def test_what_looks_like_a_transaction_hash_is_shown() -> None:
    text = f"transaction 0x{'ab' * 32} of block {'cd' * 32}"

    assert Redaction([KEY]).mask(text) == text


def test_a_short_secret_is_masked_as_a_word_and_not_inside_of_words() -> None:
    redact = Redaction(["infer", ""])

    assert redact.mask("infer: inference of an infer-ence") == (
        "[secret]: inference of an [secret]-ence"
    )


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("private_key=0xab12 next", "private_key=[secret] next"),
        ("OG_PRIVATE_KEY = 'a b' next", "OG_PRIVATE_KEY = [secret] next"),
        ('{"private_key": "0xab12", "n": 1}', '{"private_key": [secret], "n": 1}'),
        ("{'privateKey': '0xab12'}", "{'privateKey': [secret]}"),
        ("?api_key=abcd&x=1", "?api_key=[secret]&x=1"),
        ("apikey=abcd", "apikey=[secret]"),
        ('"idToken": "abcd"', '"idToken": [secret]'),
        ('"id_token": "abcd"', '"id_token": [secret]'),
        ("Authorization: Bearer abcd.ef next", "Authorization: Bearer [secret] next"),
        ("(b'authorization', b'Bearer abcd')", "(b'authorization', b'Bearer [secret]')"),
        ("PAYMENT-SIGNATURE: eyJ4NDAy next", "PAYMENT-SIGNATURE: [secret] next"),
        ("(b'x-payment', b'eyJ4NDAy')", "(b'x-payment', b'[secret]')"),
        ("https://user:pass@host/path", "https://[secret]@host/path"),
        ("OG_PASSWORD: must be set too", "OG_PASSWORD: must be set too"),
        ("the private key is 64 digits", "the private key is 64 digits"),
    ],
)
def test_what_is_called_a_secret_is_masked_though_nobody_told_of_it(text: str, masked: str) -> None:
    assert Redaction().mask(text) == masked


def test_every_part_of_a_record_is_masked(log: io.StringIO) -> None:
    logger = logging.getLogger("test")

    def fail() -> None:
        raise ValueError(f"bad key {KEY}")

    logger.debug("plain %s", KEY)
    logger.info(f"{KEY} alone")  # noqa: G004 - as others write
    logger.info("mapped %(key)s", {"key": KEY})
    logger.info("object %r", [KEY.encode()])
    logger.info("does not fit %d", KEY)
    logger.info("too few %s %s", KEY)  # noqa: PLE1206 - a mistake that libraries make
    logger.info(ValueError(KEY))
    logger.info("stack", stack_info=True)
    try:
        fail()
    except ValueError:
        logger.exception("traceback")

    assert leaked(log.getvalue()) == []
    assert log.getvalue().count(redaction.MASK) >= 6
    assert "bad key [secret]" in log.getvalue()
    assert "Stack (most recent call last)" in log.getvalue()


def test_extra_fields_are_masked_for_whatever_formats_them(log: io.StringIO) -> None:
    handler = logging.root.handlers[0]
    handler.setFormatter(logging.Formatter("%(message)s %(url)s %(many)s"))

    logging.getLogger("test").info("m", extra={"url": f"https://h/{API_KEY}", "many": [KEY, 1]})

    assert log.getvalue() == "m https://h/[secret] ['[secret]', 1]\n"


def test_a_record_without_secrets_stays_as_it_is(log: io.StringIO) -> None:
    record = logging.makeLogRecord({"msg": "%d of %s", "args": (1, "two"), "n": 5})

    logging.root.handlers[0].handle(record)

    assert (record.msg, record.args) == ("%d of %s", (1, "two"))
    assert vars(record)["n"] == 5
    assert log.getvalue() == "1 of two\n"


def test_an_error_that_ends_the_program_or_a_thread_is_logged_masked(log: io.StringIO) -> None:
    def fail() -> None:
        raise RuntimeError(f"bad key {KEY}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except RuntimeError as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)

    assert log.getvalue().count("RuntimeError: bad key [secret]") == 2


def test_a_secret_that_becomes_known_later_is_masked_from_then_on(log: io.StringIO) -> None:
    late = "0x" + "5c" * 32

    redaction.hide(late)
    logging.getLogger("test").info("opened %s", late)

    assert log.getvalue() == "opened [secret]\n"


@pytest.mark.slow
def test_hundreds_of_payments_are_masked_and_hold_nobody_up(log: io.StringIO) -> None:
    payments = [secrets.token_hex(600) for _ in range(500)]
    began = time.perf_counter()

    for payment in payments:
        redaction.hide_briefly(payment)
    for payment in payments:
        logging.getLogger("test").info("sent %s", payment)

    # As lasting secrets, the hundredth alone took seconds.
    assert time.perf_counter() - began < 5
    assert log.getvalue() == "sent [secret]\n" * 500


def test_the_filter_itself_shows_no_secret() -> None:
    assert repr(Redaction(SECRETS)) == f"<Redaction of {len(SECRETS)} secrets>"


def test_every_secret_of_the_settings_is_found() -> None:
    found = set(secrets_in(Settings.from_env(planted())))

    assert leaked("\n".join(found)) == list(SECRETS)


def test_the_networks_own_urls_hold_nothing_that_the_filter_is_told_of() -> None:
    public = {secret for network in NETWORKS.values() for secret in secrets_in(network)}

    assert not public & set(secrets_in(SecretStr("x")))
    assert all("opengradient" not in secret or "/" in secret for secret in public)


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("https://host", set()),
        ("https://host/", set()),
        ("no url", set()),
        ("https://[bad", set()),
        ("/v2/abcdefghijklmnop", set()),
        ("https://host/rpc", {"host/rpc"}),
        (
            f"https://host/v2/{API_KEY}",
            {API_KEY, f"/v2/{API_KEY}", f"host/v2/{API_KEY}"},
        ),
        ("https://host?k=ab", {"ab", "host?k=ab"}),
        ("https://us:pa@host", {"us:pa", "pa", "dXM6cGE="}),
        ("https://token@host", {"token", "dG9rZW4="}),
    ],
)
def test_what_may_be_secret_in_a_url_is_found(url: str, secrets: set[str]) -> None:
    assert set(url_secrets(url)) == secrets


class Echo(BaseHTTPRequestHandler):
    """A service that repeats whatever it was told, in the ways that services do."""

    how: ClassVar[str] = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = f"Cannot {self.command} {self.path}, {self.headers.get('Authorization')}"
        error = {"code": -32000, "message": said, "data": said}
        status, body = {
            "a page": (404, f"<html><pre>{said}</pre></html>"),
            "a detail": (403, json.dumps({"detail": said})),
            "an error": (200, json.dumps({"jsonrpc": "2.0", "id": 0, "error": error})),
            "a hidden error": (401, json.dumps({"jsonrpc": "2.0", "id": 0, "error": error})),
            "no JSON": (200, said),
            "another chain": (200, json.dumps({"jsonrpc": "2.0", "id": 0, "result": "0x1"})),
            "a redirect": (302, said),
            "nothing": (0, ""),
        }[self.how]
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", self.path)
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST  # noqa: N815 - the library's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[Callable[[str], str]]:
    """Serve an echo; gives the authority to call it at, once told how to answer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()

        def answering(how: str) -> str:
            Echo.how = how
            return f"127.0.0.1:{server.server_address[1]}"

        yield answering
        server.shutdown()
        thread.join()


def planted(authority: str = "127.0.0.1:1", **more: str) -> dict[str, str]:
    """Configure every secret there is."""
    return {
        "OG_NETWORK": "opengradient",
        "OG_PRIVATE_KEY": KEY,
        "OG_BASE_PRIVATE_KEY": BASE_KEY,
        "OG_KEYSTORE_PASSWORD": KEYSTORE_PASSWORD,
        "OG_EMAIL": "someone@example.org",
        "OG_PASSWORD": PASSWORD,
        "FIREBASE_API_KEY": FIREBASE,
        "OG_HTTP_TOKEN": TOKEN,
        "OG_RPC_URL": f"http://u:{RPC_PASSWORD}@{authority}/v2/{API_KEY}?key={QUERY_KEY}",
        "OG_CHAIN_ID": str(OPENGRADIENT.chain_id),
        "OG_HUB_READ_URL": f"http://u:{RPC_PASSWORD}@{authority}",
        "OG_HUB_URL": f"http://u:{RPC_PASSWORD}@{authority}",
        "OG_JOURNAL_URL": f"postgresql://u:{JOURNAL_PASSWORD}@127.0.0.1:1/og",
        **more,
    }


@asynccontextmanager
async def session(environ: Mapping[str, str]) -> AsyncIterator[Session]:
    settings = Settings.from_env(environ)
    async with Session(settings, timeouts=Timeouts(rpc_s=2.0, look_up_s=1.0)) as og:
        yield og


async def told_by(og: Session, *, cid: str = "QmX") -> str:
    """Use a session in every way and write down what it gives and raises."""
    told = [repr(og), repr(og.settings), str(og.settings)]
    uses: tuple[Callable[[], Awaitable[object]], ...] = (
        og.status,
        og.network_info,
        lambda: og.infer(cid, {"x": 1}),
        lambda: og.infer(cid, {"x": 1}, dry_run=True),
        lambda: og.list_files("model", "1.00"),
        lambda: og.get_model("model"),
        lambda: og.verify_receipt(RECEIPT, online=True),
        og.list_calls,
    )
    for use in uses:
        try:
            told.append(repr(await use()))
        except OGError as exc:
            told.append(everything_in(exc))
    return "\n".join(told)


@pytest.mark.sweep(quick=3)
@pytest.mark.parametrize(
    "how",
    [
        "a page",
        "a detail",
        "an error",
        "a hidden error",
        "no JSON",
        "another chain",
        "a redirect",
        "nothing",
    ],
)
async def test_a_service_that_repeats_what_it_was_told_gives_no_secret_away(
    how: str, echo: Callable[[str], str], tmp_path: Path, log: io.StringIO
) -> None:
    async with session(planted(echo(how), OG_DATA_DIR=str(tmp_path))) as og:
        told = await told_by(og)

    assert leaked(told) == []
    assert leaked(log.getvalue()) == []


async def test_what_a_node_says_is_still_told_without_the_secrets(
    echo: Callable[[str], str], tmp_path: Path
) -> None:
    async with session(planted(echo("an error"), OG_DATA_DIR=str(tmp_path))) as og:
        with pytest.raises(ServiceError) as caught:
            await og.verify_receipt(RECEIPT, online=True)

    assert "Cannot POST [secret]" in str(caught.value)


@pytest.mark.parametrize(
    "authority",
    [
        "127.0.0.1:1",
        "rpc.invalid",
        "127.0.0.1:65535",
    ],
)
async def test_a_service_that_cannot_be_reached_gives_no_secret_away(
    authority: str, tmp_path: Path, log: io.StringIO
) -> None:
    environ = planted(authority, OG_DATA_DIR=str(tmp_path), OG_ALLOW_INSECURE="1")
    async with session(environ) as og:
        told = await told_by(og)

    assert leaked(told) == []
    assert leaked(log.getvalue()) == []


async def test_tls_that_fails_gives_no_secret_away(
    echo: Callable[[str], str], tmp_path: Path, log: io.StringIO
) -> None:
    environ = planted(echo("a page"), OG_DATA_DIR=str(tmp_path))
    environ["OG_RPC_URL"] = environ["OG_RPC_URL"].replace("http:", "https:")
    async with session(environ) as og:
        told = await told_by(og)

    assert leaked(told) == []
    assert leaked(log.getvalue()) == []


SHOWN = {"OG_DATA_DIR", "OG_LOCALNET", "OG_MODELS", "OG_HOST", "OG_TEE_PCR"}
"""Paths, names and measurements: nothing can tell that a key was not meant."""


@pytest.mark.parametrize("shape", ["{}x", "x{}", "{}{}", " {} {}", "{}\n", "\0{}", "é{}", "{}/"])
def test_a_wrong_setting_never_shows_its_value(shape: str) -> None:
    """Whatever variable a key was put into by mistake."""
    from og_mcp.settings import VARIABLES  # noqa: PLC0415 - what this test alone needs

    value = shape.replace("{}", KEY)
    for name in VARIABLES:
        environ = {"OG_NETWORK": "opengradient", "OG_DATA_DIR": "/nowhere", name: value}
        try:
            shown = repr(Settings.from_env(environ))
        except ConfigurationError as exc:
            shown = everything_in(exc)

        if name not in SHOWN:
            assert leaked(shown, (KEY,)) == [], name


def broken_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Write key files and keystores that are broken, each in its way, after they were checked."""
    keystore = Account.encrypt(
        bytes.fromhex(KEY[2:]), KEYSTORE_PASSWORD, kdf="scrypt", iterations=2
    )
    crypto = keystore["crypto"]
    for number, content in enumerate(
        [KEY[:-1], f"{KEY}{KEY}", f"{KEY} {KEY}", KEY.replace("7", "g"), f"{KEY}é", "", "\0"]
    ):
        path = folder / f"key-{number}"
        path.write_text(content)
        yield "key_file", str(path)
    for number, document in enumerate(
        [
            KEY,
            {"version": 3, "private_key": KEY},
            {**keystore, "version": 2},
            {**keystore, "crypto": KEY},
            {**keystore, "crypto": {**crypto, "mac": KEY[2:]}},
            {**keystore, "crypto": {**crypto, "ciphertext": KEY}},
            {**keystore, "crypto": {**crypto, "kdf": KEY}},
            {**keystore, "crypto": {**crypto, "kdfparams": {"n": 0}}},
            {**keystore, "crypto": {**crypto, "kdfparams": {**crypto["kdfparams"], "r": 0}}},
            {**keystore, "crypto": {**crypto, "cipherparams": {"iv": KEY}}},
        ]
    ):
        path = folder / f"keystore-{number}"
        path.write_text(json.dumps(document))
        yield "keystore", str(path)
    deep = folder / "deep"
    deep.write_text("[" * 60_000)
    yield "keystore", str(deep)
    yield "keystore", str(folder)
    yield "key_file", str(folder / f"absent-{KEY}")
    yield "key", KEY[:-1]
    yield "key", KEY[2:-1]
    yield "key", "0x" + "f" * 64


async def test_a_key_that_cannot_be_read_is_told_and_not_shown(
    tmp_path: Path, log: io.StringIO
) -> None:
    for kind, secret in broken_files(tmp_path):
        source = WalletSource(
            kind=kind,  # type: ignore[arg-type]  # one of the three
            secret=SecretStr(secret),
            password=SecretStr(KEYSTORE_PASSWORD),
        )
        wallet = Wallet(source)
        with pytest.raises(ConfigurationError) as caught:
            await wallet.address()

        told = "\n".join([everything_in(caught.value), repr(wallet), repr(source), str(source)])
        assert leaked(told, (*SECRETS, secret)) == [], (kind, secret)
    assert leaked(log.getvalue()) == []


async def test_a_wrong_keystore_password_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    path.write_text(
        json.dumps(Account.encrypt(bytes.fromhex(KEY[2:]), "right", kdf="scrypt", iterations=2))
    )
    source = WalletSource(
        kind="keystore", secret=SecretStr(str(path)), password=SecretStr(KEYSTORE_PASSWORD)
    )

    with pytest.raises(ConfigurationError, match="OG_KEYSTORE_PASSWORD is wrong") as caught:
        await Wallet(source).address()

    assert leaked(everything_in(caught.value)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("eth_estimateGas", {"message": f"execution reverted: {KEY[2:]}", "code": 3}),
        ("eth_sendRawTransaction", {"message": "nonce too low"}),
        ("eth_sendRawTransaction", {"message": "insufficient funds"}),
        ("eth_gasPrice", {"message": "busy", "times": 20}),
    ],
)
async def test_local_keys_are_in_no_error_log_journal_or_result(
    method: str, fault: dict[str, Any], localnet: LocalNetwork, tmp_path: Path, log: io.StringIO
) -> None:
    keys = tuple(account["private_key"] for account in localnet.ready["accounts"])
    environ = {**localnet.environ, "OG_DATA_DIR": str(tmp_path / "data")}
    localnet.fault(method, "error", **fault)

    async with session(environ) as og:
        told = await told_by(og, cid=localnet.ready["sample_models"][0]["cid"])
        logging.getLogger("test").info("the wallet's key is %s", keys[0])

    assert leaked(told, keys) == []
    assert leaked(log.getvalue(), keys) == []
    assert "the wallet's key is [secret]" in log.getvalue()
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert leaked(path.read_bytes().decode("latin-1"), keys) == [], path


def exchange(process: Any, message: dict[str, Any]) -> str:  # noqa: ANN401 - a Popen of text
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    process.stdin.flush()
    return str(process.stdout.readline())


def family_of(pid: int) -> Iterator[int]:
    """Give a process and all that come from it."""
    yield pid
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            yield from family_of(int(path.parent.name))


TOOLS: dict[str, dict[str, Any]] = {
    "status": {},
    "infer": {"model_cid": "QmX", "model_input": {"x": 1}},
    "get_model": {"model_name": "m"},
    "list_files": {"model_name": "m", "version": "1"},
}

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def use_server(environ: Mapping[str, str]) -> tuple[str, str]:
    """Serve at DEBUG and call tools; gives all output, and the command lines meanwhile."""
    with ending(start({**environ, "OG_LOG_LEVEL": "DEBUG"}, "serve")) as process:
        told = exchange(process, {"id": 0, "method": "initialize", "params": HELLO})
        for name, arguments in TOOLS.items():
            params = {"name": name, "arguments": arguments}
            told += exchange(process, {"id": 1, "method": "tools/call", "params": params})
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in family_of(process.pid)]
        rest, log = process.communicate(timeout=END_S)
    return told + rest + log, "\n".join(lines)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_at_debug_writes_no_secret_and_has_none_in_its_arguments(
    echo: Callable[[str], str], tmp_path: Path
) -> None:
    environ = planted(echo("a page"), OG_DATA_DIR=str(tmp_path))
    del environ["OG_JOURNAL_URL"]

    told, arguments = use_server(environ)

    assert "DEBUG" in told
    assert "og_mcp" in arguments
    assert leaked(told) == []
    assert leaked(arguments) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_local_network_s_process_has_no_key_in_its_arguments(tmp_path: Path) -> None:
    urls = {name: "" for name in planted() if name.endswith("_URL")}
    environ = {**planted(), **urls, "OG_NETWORK": "local", "OG_CHAIN_ID": ""}

    told, arguments = use_server({**environ, "OG_DATA_DIR": str(tmp_path)})

    assert "og_mcp.localnet" in arguments
    assert leaked(told) == []
    assert leaked(arguments) == []


@pytest.mark.slow
def test_commands_that_fail_on_their_configuration_show_no_secret() -> None:
    environ = planted(OG_MAX_PER_CAL="1", OG_PORT=KEY)
    for arguments, way in (
        (("serve",), run),
        (("calls",), inside),
        (("wallet", "address"), inside),
        (("verify", "/dev/null"), inside),
    ):
        done = way(*arguments, environ=environ)

        assert leaked(done.stdout + done.stderr) == [], arguments
        assert done.returncode != 0
