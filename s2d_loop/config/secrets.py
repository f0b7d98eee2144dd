"""Secrets that stand in a configuration as they are: found, to be refused, and masked where one is shown all the same.

A run keeps its configuration, in config.yaml, in the ledger and on its page, and all of these are made to be
given to others.  So options name a variable of the environment (`$NAME`) where a secret belongs.
"""

import re
from collections.abc import Iterator
from typing import Any

from s2d_loop.config.problems import Key

MASK = "********"

_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_SECRET_PARTS = (
    "accesskey", "apikey", "connectionstring", "credential", "jaas", "passphrase", "passwd", "password", "secret",
)  # fmt: skip
_SECRET_WORDS = {"authorization", "pwd", "sas", "sig", "signature", "token"}
_KINDS = {
    "access", "account", "api", "auth", "bearer", "encryption", "hf", "master", "oauth", "private", "refresh",
    "session", "shared", "storage",
}  # fmt: skip
"""Of keys and tokens: `key` alone names an account (S3), and programs have tokens that end a reply."""
_ABOUT = {
    "algorithm", "duration", "enabled", "endpoint", "expiry", "file", "id", "lifetime", "location", "mechanism",
    "name", "path", "provider", "region", "ttl", "type", "uri", "url", "version",
}  # fmt: skip
"""How the name of an option ends that says where a secret is, or of what kind, and doesn't hold it."""
_NONE = {"", "anon", "cloud", "google_default", "true", "false"}
"""What stands where a secret could and is none (gcsfs has `token: anon`)."""
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
# A password may hold a slash; what is digits up to a slash is a port.
_LOGIN = re.compile(r"(?<=://)[^/?#@\s:]*:(?!\d+/)[^@\s]+@")
_WEB_LOGIN = re.compile(r"^(https?://)[^/?#@\s]+@")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=([^&#\s]+)")


def literal_secrets(data: Any) -> Iterator[tuple[Key, str]]:
    """Where a configuration, as it was read, holds a secret itself; each place with what to write instead."""
    for key, value in _leaves(data, ()):
        if _holds_secret(key, value):
            yield key, f"looks like a secret, which would be kept with the run: {_instead(key)}"
        elif isinstance(value, str) and without_login(value) != value:
            yield (
                key,
                "holds a login or a signature, which would be kept with the run: take it out of the address, and "
                "give it where the service's library looks for it (its variables or profile, or `options`)",
            )


def is_secret(key: Key) -> bool:
    """Whether what stands at a key is a secret, by its name: an option such as `sasl.password` or `accountKey`."""
    if "options" not in key[:-1]:
        return False
    words = _words(str(key[-1]))
    return _names_secret(words) or (key[0] == "sources" and _names_secret_of_client(words))


def without_login(text: str) -> str:
    """A text as it is, or the address that it is, without a login, and with signatures in its query masked."""
    if not _ADDRESS.fullmatch(text):
        return text
    return _QUERY.sub(_masked_parameter, _WEB_LOGIN.sub(r"\1", _LOGIN.sub("", text)))


def masked(value: Any, key: Key = ()) -> Any:
    """What stands at a key of a configuration as it may be shown; earlier versions let secrets in."""
    if isinstance(value, dict):
        return {name: masked(each, (*key, name)) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each, (*key, number)) for number, each in enumerate(value)]
    if _holds_secret(key, value):
        return MASK
    return without_login(value) if isinstance(value, str) else value


def _holds_secret(key: Key, value: Any) -> bool:
    if not key or not is_secret(key) or value is None or isinstance(value, bool):
        return False
    if not isinstance(value, str):
        return key[0] == "sources"  # a password of digits; programs count tokens
    return value.lower() not in _NONE and _VARIABLE.fullmatch(value) is None


def _instead(key: Key) -> str:
    variable = re.sub(r"[^A-Za-z0-9]+", "_", str(key[-1])).upper()
    if key[0] == "sources":
        return (
            f"put it into a variable of the environment, and write the variable's name here, as ${variable}"
        )
    return f"let the program read it from the environment, and write only the variable's name here, as ${variable}"


def _names_secret(words: list[str]) -> bool:
    if not words or words[-1] in _ABOUT:
        return False
    if any(part in "".join(words) for part in _SECRET_PARTS) or {"key", "pem"} <= set(words):
        return True
    return words[-1] in ("key", "token") and bool(_KINDS & set(words[:-1]))


def _names_secret_of_client(words: list[str]) -> bool:
    return words[-1:] != [] and words[-1] not in _ABOUT and bool(_SECRET_WORDS & set(words))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _masked_parameter(found: re.Match[str]) -> str:
    words = _words(found[1])
    secret = _names_secret(words) or _names_secret_of_client(words)
    return f"{found[1]}={MASK}" if secret else found[0]


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, (*key, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _leaves(each, (*key, number))
    else:
        yield key, value
