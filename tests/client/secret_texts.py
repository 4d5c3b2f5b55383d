"""Texts that look like secrets and are none; put together here so that no scanner finds them."""

from __future__ import annotations

from typing import Final

_PEM: Final = "-----BEGIN {}-----\nMIIBVgIBADANBgkqhkiG9w0BAQEFAASCAUAw\n-----END {}-----\n"
_KEY: Final = "PRIVATE" + " KEY"
_HEX: Final = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"

SECRETS: Final = {
    "pem": _PEM.format(_KEY, _KEY),
    "pem of rsa": _PEM.format(f"RSA {_KEY}", f"RSA {_KEY}"),
    "pem of openssh": _PEM.format(f"OPENSSH {_KEY}", f"OPENSSH {_KEY}"),
    "pgp": _PEM.format(f"PGP {_KEY} BLOCK", f"PGP {_KEY} BLOCK"),
    "keystore": '{"version": 3, "crypto": {"cipher": "aes-128-ctr", "kdf": "scrypt", '
    '"kdfparams": {"n": 262144}, "ciphertext": "d1"}}',
    "service account": '{"type": "service_account", "private_key_id": "' + _HEX[:40] + '"}',
    "aws": "[default]\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
    "azure": "DefaultEndpointsProtocol=https;AccountKey=" + "aB3+" * 21 + "==",
    "github": "token: gh" + "p_" + "aB3d" * 9,
    "anthropic": "key: sk-" + "ant-" + "api03-" + "aB3d" * 12,
    "hugging face": "HF: h" + "f_" + "aBcd" * 8 + "ef",
    "labelled hex": f'{{"private_key": "0x{_HEX}"}}',
    "hex alone": f"0x{_HEX}\n",
    "env file": "export OPENAI_API_KEY=abcd1234efgh5678ijkl\n",
    "seed phrase": "legal winner thank year wave sausage worth useful legal winner thank yellow\n",
    "labelled seed phrase": '{"mnemonic": "' + "legal winner thank year " * 3 + '"}',
    "aws access key": "id: AK" + "IAIOSFODNN7EXAMPLE\n",
}

INNOCENT: Final = {
    "certificate": _PEM.format("CERTIFICATE", "CERTIFICATE"),
    "public key": _PEM.format("PUBLIC KEY", "PUBLIC KEY"),
    "checksum": f'{{"sha256": "{_HEX}", "size": 12}}',
    "readme": "Set OPENAI_API_KEY=your-key-here and keep the secret key private.\n",
    "config": '{"vocab_size": 32000, "bos_token": "<s>", "key": "value", "tokens": [1, 2, 3]}',
    "words": "this model tells a cat from a dog\n",
    "placeholder": "OG_PRIVATE_KEY=0x...\n",
}
