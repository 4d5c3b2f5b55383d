"""Nothing is signed but what the network's record allows, whoever asks for it (threats.md T3, T25)."""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from anyio import to_thread
from eth_account import Account as Keys
from eth_account.datastructures import SignedMessage
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from x402 import x402ClientSync
from x402.mechanisms.evm.upto.client import UptoEvmScheme
from x402.schemas import PaymentRequired, PaymentRequirements

from og_mcp.client import Session
from og_mcp.client.payments.guarded_signer import Draft, GuardedSigner
from og_mcp.client.payments.requirement import Requirement
from og_mcp.errors import OPGCapError, PaymentRefusedError, UnsafeEndpointError
from og_mcp.journal import open_journal
from og_mcp.networks import OPENGRADIENT, PERMIT2, UPTO_PROXY
from og_mcp.types import Stage
from tests.books import Purse
from tests.client.payments.chats import CAP, OPG, chat, of_payer, the_account

OTHER: Final = "0x" + "11" * 20
ZERO: Final = "0x" + "00" * 20
PATH: Final = "/v1/chat/completions"

WRONG: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "scheme": ({"scheme": "exact"}, "scheme is 'exact'"),
    "chain": ({"network": "eip155:1"}, "network is 'eip155:1'"),
    "token": ({"asset": OTHER}, "asset is '0x1111"),
    "recipient": ({"payTo": OTHER}, "recipient is '0x1111"),
    "no recipient": ({"payTo": ZERO}, "recipient is '0x0000"),
    "nothing": ({"amount": "0"}, "amount is '0'"),
    "no uint256": ({"amount": str(2**256)}, "amount is '1157"),
    "far deadline": ({"maxTimeoutSeconds": 3601}, "deadline is 3601 s"),
    "near deadline": ({"maxTimeoutSeconds": 29}, "deadline is 29 s"),
    "facilitator": ({"extra": {"facilitatorAddress": "me"}}, "facilitator is 'me'"),
    "no facilitator": ({"extra": {"facilitatorAddress": ZERO}}, "facilitator is '0x0000"),
    "method": ({"extra": {"assetTransferMethod": "eip3009"}}, "transfer method is 'eip3009'"),
}
"""What a challenge says otherwise, and how the error names it."""


@pytest.mark.slow
@pytest.mark.parametrize("what", WRONG)
async def test_t3_a_challenge_that_differs_from_the_record_is_never_signed(
    purse: Purse, what: str
) -> None:
    terms, words = WRONG[what]
    purse.localnet.terms(**terms)

    async with purse.session(OG_CONFIRM_ABOVE="1000000000") as og:
        with pytest.raises(PaymentRefusedError) as failed:
            await chat(og)
        listed = await og.list_calls()

    assert words in str(failed.value)
    assert failed.value.stage is Stage.NOT_SENT
    assert (listed.open_opg, listed.calls[0].payment.cap_id) == ("0", "")
    assert of_payer(purse, purse.localnet.sessions()) == []


async def test_t3_a_price_above_the_cap_is_never_signed(purse: Purse) -> None:
    purse.localnet.terms(amount=str(5 * OPG + 1))

    async with purse.session(OG_CONFIRM_ABOVE="10") as og:
        with pytest.raises(OPGCapError, match=r"OG_MAX_PER_CALL") as failed:
            await chat(og)
        listed = await og.list_calls()

    assert "5.000000000000000001" in str(failed.value)
    assert listed.open_opg == "0"
    assert of_payer(purse, purse.localnet.sessions()) == []


async def test_t3_a_price_of_the_cap_itself_is_signed(purse: Purse) -> None:
    purse.localnet.terms(amount=str(5 * OPG))

    async with purse.session(OG_CONFIRM_ABOVE="10") as og:
        assert (await chat(og)).payment.max_opg == "5"


@pytest.mark.slow
@pytest.mark.parametrize("what", WRONG)
async def test_t3_a_remembered_price_that_the_record_does_not_allow_is_asked_for_anew(
    purse: Purse, what: str
) -> None:
    """Even where whoever changed it has the seal's key, e.g. with an older version of the record."""
    terms, _ = WRONG[what]
    await remember(purse, lambda offer: merged(offer, terms), sealed=True)
    purse.localnet.reset_counters("gateway")

    async with purse.session() as og:
        result = await chat(og, "second")

    assert asked(purse) == 2
    assert (result.payment.max_opg, await signed(purse)) == ("0.1", [CAP, CAP])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"amount": str(4 * CAP)},
        {"extra": {"facilitatorAddress": OTHER}},
        {"maxTimeoutSeconds": 900},
        {"payTo": OTHER},
    ],
    ids=["amount", "facilitator", "deadline", "recipient"],
)
async def test_t25_a_remembered_price_whose_seal_is_broken_is_asked_for_anew(
    purse: Purse, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The first three are changes that the record alone would allow."""
    caplog.set_level(logging.WARNING)
    await remember(purse, lambda offer: merged(offer, change), sealed=False)
    purse.localnet.reset_counters("gateway")

    async with purse.session(OG_CONFIRM_ABOVE="10") as og:
        result = await chat(og, "second")

    assert asked(purse) == 2
    assert (result.payment.max_opg, await signed(purse)) == ("0.1", [CAP, CAP])
    assert "a note is left aside" in caplog.text


async def test_t25_a_remembered_price_does_not_pass_under_another_name(purse: Purse) -> None:
    await remember(purse, lambda offer: offer, sealed=True, name="another")
    with sqlite3.connect(purse.folder / "data" / "journal.db") as database:
        moved = "UPDATE notes SET sealed = (SELECT sealed FROM notes WHERE name = 'another')"
        database.execute(moved)
    purse.localnet.reset_counters("gateway")

    async with purse.session() as og:
        await chat(og, "second")

    assert asked(purse) == 2


async def test_t5_a_real_network_pays_by_way_of_no_service_of_this_machine(purse: Purse) -> None:
    account = json.loads((purse.folder / "ready.json").read_text(encoding="utf-8"))["accounts"][0]
    ready = purse.localnet.ready
    real = {
        "OG_NETWORK": "opengradient",
        "OG_PRIVATE_KEY": account["private_key"],
        "OG_DATA_DIR": str(purse.folder / "real"),
        "OG_RPC_URL": ready["rpc_url"],
        "OG_CHAIN_ID": str(ready["chain_id"]),
        "OG_TEE_REGISTRY_ADDRESS": ready["tee_registry"],
        "OG_BASE_RPC_URL": ready["base_rpc_url"],
        "OG_BASE_CHAIN_ID": str(ready["base_chain_id"]),
        "OG_ALLOW_INSECURE": "1",
    }
    async with Session.from_env(real) as og:
        with pytest.raises(UnsafeEndpointError, match=r"this machine|loopback") as failed:
            await chat(og)
        listed = await og.list_calls()

    assert failed.value.stage is Stage.NOT_SENT
    assert listed.open_opg == "0"
    assert of_payer(purse, purse.localnet.sessions()) == []


# The final typed data, as the package x402 hands it over.


WALLET: Final[LocalAccount] = Keys.create()
PRICE: Final = Requirement(
    scheme="upto",
    network=f"eip155:{OPENGRADIENT.base_chain_id}",
    asset=OPENGRADIENT.opg_token,
    amount=CAP,
    pay_to="0x" + "aa" * 20,
    facilitator="0x" + "bb" * 20,
    timeout_s=300,
    transfer_method="permit2",
    token_name="OpenGradient",
    token_version="1",
)

Typed = tuple[Any, Any, str, dict[str, Any]]


class _Heard:
    """A signer that keeps what it is asked for."""

    address: Final = str(WALLET.address)

    def __init__(self) -> None:
        self.typed: list[Typed] = []

    def sign_typed_data(self, domain: Any, types: Any, primary_type: str, message: Any) -> bytes:  # noqa: ANN401 - as the package hands them over
        self.typed.append((domain, types, primary_type, dict(message)))
        return b"\0" * 65


@pytest.fixture(scope="module")
def typed() -> Typed:
    """What the package asks to be signed for a price."""
    heard = _Heard()
    client = x402ClientSync()
    client.register(PRICE.network, UptoEvmScheme(heard))
    client.set_spend_controls({"max_amount_per_payment": False, "allowed_assets": True})
    offer = PaymentRequirements.model_validate(PRICE.offer())
    client.create_payment_payload(PaymentRequired(x402_version=2, accepts=[offer]))
    [asked_for] = heard.typed
    return asked_for


async def test_t3_what_the_package_asks_for_is_recorded_and_then_signed_once(typed: Typed) -> None:
    recorded: list[Draft] = []
    signer = guarded(recorded)

    signature = await to_thread.run_sync(signer.sign_typed_data, *typed)

    assert len(signature) == 65
    assert [draft.nonce for draft in recorded] == [str(typed[3]["nonce"])]
    with pytest.raises(PaymentRefusedError, match="being the second"):
        await to_thread.run_sync(signer.sign_typed_data, *typed)
    assert len(recorded) == 1


class _WatchedWallet(LocalAccount):
    """A wallet that tells how often it has signed."""

    signatures = 0

    def sign_typed_data(self, *args: Any, **kwargs: Any) -> SignedMessage:  # noqa: ANN401 - as LocalAccount
        self.signatures += 1
        return super().sign_typed_data(*args, **kwargs)


async def test_t3_what_cannot_be_recorded_is_not_signed(typed: Typed) -> None:
    async def refuse(_draft: Draft) -> None:
        raise OPGCapError("OG_MAX_PER_CALL", 2, 1)

    wallet = _WatchedWallet(PrivateKey(bytes(WALLET.key)), Keys())
    signer = GuardedSigner(wallet, OPENGRADIENT, PRICE, "gateway", refuse)

    with pytest.raises(OPGCapError):
        await to_thread.run_sync(signer.sign_typed_data, *typed)

    assert wallet.signatures == 0


MESSAGES: Final[Mapping[str, tuple[tuple[str, ...], Any]]] = {
    "token": (("permitted", "token"), OTHER),
    "amount": (("permitted", "amount"), CAP + 1),
    "amount ": (("permitted", "amount"), float(CAP)),
    "spender": (("spender",), PERMIT2),
    "nonce": (("nonce",), 2**256),
    "nonce ": (("nonce",), -1),
    "deadline": (("deadline",), 2**40),
    "deadline ": (("deadline",), True),
    "to": (("witness", "to"), OTHER),
    "facilitator": (("witness", "facilitator"), OTHER),
    "validAfter": (("witness", "validAfter"), 2**40),
    "'extra'": (("extra",), "0x"),
    "permitted": (("permitted",), None),
}
"""How the error names a field of the message -> its path, and what it must not be."""


@pytest.mark.parametrize("name", MESSAGES)
async def test_t3_a_message_that_differs_in_one_field_is_not_signed(
    typed: Typed, name: str
) -> None:
    path, value = MESSAGES[name]
    domain, types, primary, message = typed
    expected = "token, amount" if name == "permitted" else name.strip()

    await refused((domain, types, primary, replaced(message, path, value)), f"its {expected}.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Permit3"),
        ("chainId", 1),
        ("verifyingContract", UPTO_PROXY),
        ("version", "1"),
    ],
)
async def test_t3_a_domain_that_differs_in_one_field_is_not_signed(
    typed: Typed, name: str, value: object
) -> None:
    _, types, primary, message = typed
    domain = {"name": "Permit2", "chainId": OPENGRADIENT.base_chain_id} | {
        "verifyingContract": PERMIT2
    }

    shown = f"'{name}'" if name == "version" else name
    await refused(({**domain, name: value}, types, primary, message), f"its domain's {shown}.")


async def test_t3_another_type_is_not_signed(typed: Typed) -> None:
    domain, types, primary, message = typed
    longer = {**types, "Witness": [*types["Witness"], {"name": "extra", "type": "bytes"}]}

    await refused((domain, longer, primary, message), "its types.")
    await refused((domain, types, "PermitTransferFrom", message), "its types.")


async def test_a_payment_that_has_been_valid_for_ten_minutes_is_signed(typed: Typed) -> None:
    """Other versions of the package sign `validAfter` = now - 600."""
    domain, types, primary, message = typed
    earlier = replaced(message, ("witness", "validAfter"), int(message["deadline"]) - 900)

    signer = guarded([])
    assert await to_thread.run_sync(signer.sign_typed_data, domain, types, primary, earlier)


def guarded(recorded: list[Draft]) -> GuardedSigner:
    async def record(draft: Draft) -> None:
        recorded.append(draft)

    return GuardedSigner(WALLET, OPENGRADIENT, PRICE, "gateway", record)


async def refused(typed: Typed, words: str) -> None:
    """Assert that something is neither recorded nor signed, and that the error says why."""
    recorded: list[Draft] = []
    with pytest.raises(PaymentRefusedError) as failed:
        await to_thread.run_sync(guarded(recorded).sign_typed_data, *typed)
    assert f"differs in {words}" in str(failed.value)
    assert recorded == []


def replaced(message: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    name, *deeper = path
    inner = replaced(message[name], tuple(deeper), value) if deeper else value
    return {**message, name: inner}


# What is remembered in the journal's database.


def asked(purse: Purse) -> int:
    return sum(purse.localnet.counters("gateway")["calls"].values())


def merged(offer: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    return {**offer, **change, "extra": {**offer["extra"], **change.get("extra", {})}}


async def signed(purse: Purse) -> list[int]:
    """Return every maximum that was ever signed; all of them to the gateway's own recipient."""
    with sqlite3.connect(purse.folder / "data" / "journal.db") as database:
        found = database.execute("SELECT max_opg, pay_to FROM caps ORDER BY created_at").fetchall()
    [pay_to] = {pay_to.lower() for _, pay_to in found}
    assert pay_to != OTHER
    return [int(max_opg) for max_opg, _ in found]


async def remember(
    purse: Purse,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    sealed: bool,
    name: str = "",
) -> None:
    """Chat once, and change the price that is remembered; with the seal's key, or without."""
    async with purse.session() as og:
        await chat(og, "first")
    of_chats = f"requirements {(await the_account(purse)).key} {PATH}"
    async with open_journal(purse.settings()) as journal:
        before = await journal.recall(of_chats)
        entries = json.loads(before)
        for entry in entries.values():
            offer = change(Requirement.from_json(entry["requirement"]).offer())
            entry["requirement"] = Requirement.of(offer).to_json()
        after = json.dumps(entries, separators=(",", ":"))
        if sealed:
            await journal.remember(name or of_chats, after)
            return
    with sqlite3.connect(purse.folder / "data" / "journal.db") as database:
        row = "FROM notes WHERE name = ?"
        [(before,)] = database.execute(f"SELECT sealed {row}", [of_chats]).fetchall()
        raw = base64.urlsafe_b64decode(before)
        forged = base64.urlsafe_b64encode(raw[:32] + after.encode()).decode()
        database.execute("UPDATE notes SET sealed = ? WHERE name = ?", [forged, of_chats])
