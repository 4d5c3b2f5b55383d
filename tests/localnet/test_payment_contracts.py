"""Permit2 and the upto proxy move what an owner signed for, once, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from og_mcp.localnet import genesis
from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import Call
from og_mcp.localnet.genesis import OPG, OPG_TOKEN
from og_mcp.localnet.node_errors import NodeError
from og_mcp.networks import PERMIT2, UPTO_PROXY
from tests.localnet.calls import raw_address, sign
from tests.localnet.conftest import CHAIN_ID
from tests.localnet.graphs import Folder
from tests.localnet.payers import allowance_of, opg_of

SETTLE = "(((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)"
SHOP = "0x" + "55" * 20
CAP = OPG // 10

WITNESS_TYPES = {
    "PermitWitnessTransferFrom": [
        {"name": "permitted", "type": "TokenPermissions"},
        {"name": "spender", "type": "address"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
        {"name": "witness", "type": "Witness"},
    ],
    "TokenPermissions": [
        {"name": "token", "type": "address"},
        {"name": "amount", "type": "uint256"},
    ],
    "Witness": [
        {"name": "to", "type": "address"},
        {"name": "facilitator", "type": "address"},
        {"name": "validAfter", "type": "uint256"},
    ],
}
"""protocol.md section 7."""


@dataclass(frozen=True, kw_only=True)
class Cap:
    """What an owner signs, and what a facilitator makes of it."""

    facilitator: str
    amount: int = CAP
    nonce: int = 7
    deadline: int = 2**40
    to: str = SHOP
    valid_after: int = 0
    spender: str = UPTO_PROXY

    def signed(self, owner: LocalAccount) -> bytes:
        signed = owner.sign_typed_data(
            {"name": "Permit2", "chainId": CHAIN_ID, "verifyingContract": PERMIT2},
            WITNESS_TYPES,
            {
                "permitted": {"token": OPG_TOKEN, "amount": self.amount},
                "spender": self.spender,
                "nonce": self.nonce,
                "deadline": self.deadline,
                "witness": {
                    "to": self.to,
                    "facilitator": self.facilitator,
                    "validAfter": self.valid_after,
                },
            },
        )
        return bytes(signed.signature)

    def settle(self, owner: LocalAccount, amount: int, signature: bytes = b"") -> bytes:
        """Write call data; the signature is the owner's over this cap unless it is given."""
        witness = (self.to, self.facilitator, self.valid_after)
        permit = ((OPG_TOKEN, self.amount), self.nonce, self.deadline)
        values = (permit, amount, owner.address, witness, signature or self.signed(owner))
        return keccak(text="settle" + SETTLE)[:4] + encode([SETTLE], [values])[32:]


@pytest.fixture
def facilitator() -> LocalAccount:
    account: LocalAccount = Account.create()
    return account


@pytest.fixture
def chain(wallet: LocalAccount, facilitator: LocalAccount, models: Folder) -> Iterator[Chain]:
    """A payment chain on which the wallet holds 2 OPG and has approved half of it."""
    contracts = genesis.payment({wallet.address: 2 * OPG}, {wallet.address: OPG})
    owners = [wallet.address, facilitator.address]
    chain = Chain(chain_id=CHAIN_ID, accounts=owners, models=models, contracts=contracts)
    yield chain
    chain.close()


@pytest.fixture
def cap(facilitator: LocalAccount) -> Cap:
    return Cap(facilitator=facilitator.address)


def _send(chain: Chain, sender: LocalAccount, to: str, data: bytes) -> bool:
    """Send a transaction; whether it succeeded."""
    nonce = chain.nonce(raw_address(sender.address))
    raw = sign(sender, CHAIN_ID, nonce=nonce, to=to, data=data, gas=500_000)
    chain.send_raw(raw)
    return chain.records.head.transactions[0].succeeded


def _revert(chain: Chain, sender: str, data: bytes, to: str = UPTO_PROXY) -> str:
    """Call and return the selector that it reverts with."""
    call = Call(sender=raw_address(sender), to=raw_address(to), gas=10**6, data=data)
    with pytest.raises(NodeError, match="execution reverted") as caught:
        chain.call(call)
    return str(caught.value.data)[:10]


def _selector(error: str) -> str:
    return "0x" + keccak(text=error)[:4].hex()


def test_a_settlement_moves_what_was_used_and_lowers_the_allowance(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    assert _send(chain, facilitator, UPTO_PROXY, cap.settle(wallet, 12345))

    assert opg_of(chain, SHOP) == 12345
    assert opg_of(chain, wallet.address) == 2 * OPG - 12345
    assert allowance_of(chain, wallet.address) == OPG - 12345
    (transfer,) = chain.records.head.transactions[0].logs
    assert transfer.topics[0].hex() == (
        "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    )


def test_a_nonce_settles_once(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    assert _send(chain, facilitator, UPTO_PROXY, cap.settle(wallet, 1))

    assert not _send(chain, facilitator, UPTO_PROXY, cap.settle(wallet, 1))
    again = _revert(chain, facilitator.address, cap.settle(wallet, 1))
    assert again == _selector("InvalidNonce()")
    assert opg_of(chain, SHOP) == 1


def test_an_owner_voids_an_open_signature(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    void = keccak(text="invalidateUnorderedNonces(uint256,uint256)")[:4]
    data = void + encode(["uint256", "uint256"], [cap.nonce >> 8, 1 << (cap.nonce & 255)])
    assert _send(chain, wallet, PERMIT2, data)

    refused = _revert(chain, facilitator.address, cap.settle(wallet, 1))
    assert refused == _selector("InvalidNonce()")
    other = replace(cap, nonce=cap.nonce + 1)
    assert _send(chain, facilitator, UPTO_PROXY, other.settle(wallet, 1))


def test_nobody_but_the_signed_facilitator_settles(
    chain: Chain, wallet: LocalAccount, cap: Cap
) -> None:
    refused = _revert(chain, wallet.address, cap.settle(wallet, 1))

    assert refused == _selector("UnauthorizedFacilitator()")


def test_more_than_the_cap_is_refused_by_the_proxy_and_by_permit2(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    refused = _revert(chain, facilitator.address, cap.settle(wallet, CAP + 1))

    assert refused == _selector("AmountExceedsPermitted()")
    data = _pull(replace(cap, spender=facilitator.address), wallet, CAP + 1)
    assert _revert(chain, facilitator.address, data, PERMIT2) == _selector("InvalidAmount(uint256)")


def _pull(cap: Cap, owner: LocalAccount, amount: int) -> bytes:
    """Write call data of Permit2 itself, for a spender that calls it without the proxy."""
    kinds = (
        *("((address,uint256),uint256,uint256)", "(address,uint256)", "address"),
        *("bytes32", "string", "bytes"),
    )
    witness_type = "Witness(address to,address facilitator,uint256 validAfter)"
    witness = keccak(
        keccak(text=witness_type)
        + encode(["address", "address", "uint256"], [cap.to, cap.facilitator, cap.valid_after])
    )
    values = (
        ((OPG_TOKEN, cap.amount), cap.nonce, cap.deadline),
        (cap.to, amount),
        owner.address,
        witness,
        f"Witness witness)TokenPermissions(address token,uint256 amount){witness_type}",
        cap.signed(owner),
    )
    return bytes.fromhex("137c29fe") + encode(kinds, values)


def test_permit2_moves_tokens_for_the_spender_that_was_signed_for(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    meant = replace(cap, spender=facilitator.address)

    assert _send(chain, facilitator, PERMIT2, _pull(meant, wallet, CAP))
    assert opg_of(chain, SHOP) == CAP
    other = _pull(replace(cap, nonce=8), wallet, CAP)
    assert _revert(chain, facilitator.address, other, PERMIT2) == _selector("InvalidSigner()")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"deadline": int(time.time()) - 60}, "SignatureExpired(uint256)"),
        ({"valid_after": 2**40}, "PaymentTooEarly()"),
        ({"to": "0x" + "00" * 20}, "InvalidDestination()"),
    ],
)
def test_a_signature_holds_in_its_time_and_for_a_recipient(
    chain: Chain,
    wallet: LocalAccount,
    cap: Cap,
    changes: dict[str, Any],
    error: str,
) -> None:
    data = replace(cap, **changes).settle(wallet, 1)

    assert _revert(chain, cap.facilitator, data) == _selector(error)


@pytest.mark.parametrize(
    "changes",
    [{"amount": 2 * CAP}, {"nonce": 8}, {"deadline": 2**41}, {"to": "0x" + "66" * 20}],
    ids=lambda changes: next(iter(changes)),
)
def test_the_signature_covers_every_field(
    chain: Chain,
    wallet: LocalAccount,
    cap: Cap,
    changes: dict[str, Any],
) -> None:
    data = replace(cap, **changes).settle(wallet, 1, cap.signed(wallet))

    assert _revert(chain, cap.facilitator, data) == _selector("InvalidSigner()")


@pytest.mark.parametrize("signature", [b"\x01" * 64, bytes(64) + b"\x1b"])
def test_what_is_no_signature_is_refused(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap, signature: bytes
) -> None:
    data = cap.settle(wallet, 1, signature)

    assert _revert(chain, facilitator.address, data) == _selector("InvalidSignature()")


def test_an_approval_that_is_too_small_or_revoked_stops_settlements(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    approve = bytes.fromhex("095ea7b3") + encode(["address", "uint256"], [PERMIT2, CAP - 1])
    assert _send(chain, wallet, OPG_TOKEN, approve)

    refused = _revert(chain, facilitator.address, cap.settle(wallet, CAP))
    assert refused == _selector("InsufficientAllowance(address,uint256,uint256)")
    assert _send(chain, facilitator, UPTO_PROXY, cap.settle(wallet, CAP - 1))
    assert allowance_of(chain, wallet.address) == 0


def test_the_largest_allowance_never_runs_out(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    approve = bytes.fromhex("095ea7b3") + encode(["address", "uint256"], [PERMIT2, 2**256 - 1])
    assert _send(chain, wallet, OPG_TOKEN, approve)

    assert _send(chain, facilitator, UPTO_PROXY, cap.settle(wallet, CAP))
    assert allowance_of(chain, wallet.address) == 2**256 - 1


def test_a_balance_that_is_too_small_stops_settlements(
    chain: Chain, wallet: LocalAccount, facilitator: LocalAccount, cap: Cap
) -> None:
    transfer = bytes.fromhex("a9059cbb") + encode(["address", "uint256"], [SHOP, 2 * OPG])
    assert _send(chain, wallet, OPG_TOKEN, transfer)

    refused = _revert(chain, facilitator.address, cap.settle(wallet, 1))
    assert refused == _selector("InsufficientBalance(address,uint256,uint256)")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("name()", encode(["string"], ["OpenGradient"])),
        ("symbol()", encode(["string"], ["OPG"])),
        ("decimals()", encode(["uint8"], [18])),
        ("totalSupply()", encode(["uint256"], [2 * OPG])),
    ],
)
def test_the_token_says_what_it_is(chain: Chain, call: str, answer: bytes) -> None:
    asked = Call(
        sender=raw_address(SHOP), to=raw_address(OPG_TOKEN), gas=10**5, data=keccak(text=call)[:4]
    )

    assert chain.call(asked) == answer
