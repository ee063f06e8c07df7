"""KMS: codes that only the stack's own key makes, and recognises."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from retrain.aws.calls import classified, code_of

_ALGORITHM = "HMAC_SHA_256"
_LENGTH = 32  # bytes of such a code
_FORGED = "KMSInvalidMacException"


class Macs:
    """Message authentication codes of one HMAC_256 key."""

    def __init__(self, kms: Any, key_arn: str) -> None:
        self._kms = kms
        self._key = key_arn

    def make(self, message: bytes) -> bytes:
        """The message's code, 32 bytes. A message has at most 4,096."""
        with classified("kms:GenerateMac"):
            made = self._kms.generate_mac(KeyId=self._key, Message=message, MacAlgorithm=_ALGORITHM)
        return bytes(made["Mac"])

    def genuine(self, message: bytes, code: bytes) -> bool:
        """Whether the key made that code of that message."""
        if len(code) != _LENGTH:
            return False
        with classified("kms:VerifyMac"):
            try:
                found = self._kms.verify_mac(KeyId=self._key, Message=message, MacAlgorithm=_ALGORITHM, Mac=code)
            except ClientError as error:
                if code_of(error) == _FORGED:
                    return False
                raise
        return bool(found["MacValid"])
