"""Call data, transactions and answers of the contracts, by libraries that are not ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from eth_abi.abi import decode, encode
from eth_account.signers.local import LocalAccount
from eth_typing import Address
from eth_utils.address import to_checksum_address

from og_mcp.localnet.chain import Chain
from og_mcp.localnet.evm import Call
from og_mcp.localnet.genesis import INFERENCE_CONTRACT

NUMBERS: Final = "(string,(int128,int128)[],uint32[])[]"
STRINGS: Final = "(string,string[])[]"
MODEL_INPUT: Final = f"({NUMBERS},{STRINGS})"
MODEL_OUTPUT: Final = f"({NUMBERS},{STRINGS},(string,string)[],bool)"
REQUEST: Final = f"(uint8,string,{MODEL_INPUT})"

RUN: Final = bytes.fromhex("cbf09d80")
INFERENCE_RESULT: Final = bytes.fromhex(
    "c1396ff68bc2d8630100df29ce5561fa99078c602e8676ab72a53e37095d7168"
)
MODEL_INFERENCE_EVENT: Final = bytes.fromhex(
    "1b283af3452f3718585ce100f80d9aa81fc60924db4a582a36db6aae3b109d87"
)

Numbers = tuple[str, Sequence[tuple[int, int]], Sequence[int]]
Strings = tuple[str, Sequence[str]]


def raw_address(address: str) -> Address:
    """Turn 0x-hex into 20 bytes."""
    return Address(bytes.fromhex(address.removeprefix("0x")))


CONTRACT: Final = raw_address(INFERENCE_CONTRACT)


def fixed(number: str) -> tuple[int, int]:
    """Write decimal text as value and decimals."""
    sign, digits, exponent = Decimal(number).as_tuple()
    assert isinstance(exponent, int)
    value = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    return (-value if sign else value), max(-exponent, 0)


def numbers(name: str, array: Any) -> Numbers:  # noqa: ANN401 - whatever numpy takes
    """Write an array as a number tensor; floats by their shortest text."""
    values = np.asarray(array)
    texts = [str(v if values.dtype.kind == "f" else int(v)) for v in values.ravel()]
    return name, [fixed(text) for text in texts], values.shape


def run_data(
    cid: str, numbers: Sequence[Numbers] = (), strings: Sequence[Strings] = (), mode: int = 0
) -> bytes:
    """Write call data of `run`."""
    return RUN + encode(["string", "uint8", MODEL_INPUT], [cid, mode, (numbers, strings)])


@dataclass(frozen=True)
class Output:
    """What a model gave, read from ABI bytes."""

    numbers: dict[str, tuple[tuple[tuple[int, int], ...], tuple[int, ...]]]
    strings: dict[str, tuple[str, ...]]
    jsons: dict[str, str]
    is_simulation_result: bool

    @classmethod
    def read(cls, data: bytes) -> Output:
        """Read a `ModelOutput`."""
        ((numbers, strings, jsons, simulated),) = decode([MODEL_OUTPUT], data)
        return cls(
            {name: (values, shape) for name, values, shape in numbers},
            dict(strings),
            dict(jsons),
            simulated,
        )

    def array(self, name: str, dtype: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - a dtype
        """Read one number tensor as decimal text in its dtype."""
        values, shape = self.numbers[name]
        texts = [f"{value}e-{decimals}" for value, decimals in values]
        kind = np.dtype(dtype)
        if kind.kind != "f":
            return np.array([int(Decimal(text)) for text in texts], kind).reshape(shape)
        return np.array([float(text) for text in texts]).astype(kind).reshape(shape)


def infer(chain: Chain, data: bytes, *, sender: Address = Address(bytes(20))) -> Output:  # noqa: B008 - immutable
    """Call the contract without a transaction."""
    return Output.read(chain.call(Call(sender=sender, to=CONTRACT, gas=10**9, data=data)))


def sign(wallet: LocalAccount, chain_id: int, **fields: Any) -> bytes:  # noqa: ANN401 - a transaction
    """Sign a legacy transaction; a transfer of nothing unless told otherwise."""
    transaction: Mapping[str, Any] = {
        "chainId": chain_id,
        "nonce": 0,
        "gas": 21_000,
        "gasPrice": 10**9,
        "to": to_checksum_address(b"\x22" * 20),
        "value": 0,
        "data": b"",
        **fields,
    }
    return bytes(wallet.sign_transaction(dict(transaction)).raw_transaction)
