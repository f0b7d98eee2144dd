"""A Ray cluster as seen through its dashboard's job API.

Questions are asked over plain HTTP, with a time limit that Ray's own client doesn't have; submitting
and reading logs are that client's work.
"""

import json
import logging
import os
import shlex
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from s2d_loop.errors import BadInputError
from s2d_loop.submit.job import ENTRYPOINT, Job

# A head that lives answers at once: a wrong address should not cost a minute.
ANSWER_S = 10.0


class TakenError(Exception):
    """There is a job of this id on the cluster."""


class UnreachableError(BadInputError):
    """Nobody answers at the address."""


@dataclass(frozen=True, slots=True)
class Info:
    """What Ray says of a job."""

    id: str
    status: str
    message: str = ""
    exit_code: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """The cluster at a dashboard's address; its methods raise BadInputError with what is wrong."""

    def __init__(self, address: str, token_file: Path | None = None) -> None:
        self.address = _dashboard(address)
        self._token_file = token_file.expanduser().absolute() if token_file else None
        self._token = read_token(self._token_file, os.environ)

    @property
    def token_hint(self) -> str:
        """What a plain `ray` command needs in front, to find the token that was found here."""
        if self._token is None:
            return ""
        path = f"RAY_AUTH_TOKEN_PATH={shlex.quote(str(self._token_file))} " if self._token_file else ""
        return f"RAY_AUTH_MODE=token {path}"

    def version(self) -> str:
        """Ray's version there."""
        answer = self._ask("/api/version")
        if not isinstance(answer, dict) or "ray_version" not in answer:
            raise BadInputError(f"{self.address} answers, but is not a Ray dashboard")
        return str(answer["ray_version"])

    def jobs(self) -> list[Info]:
        """Every job of the cluster that was submitted."""
        return [info for info in map(_info, self._ask("/api/jobs/")) if info.id]

    def info(self, job_id: str) -> Info:
        """One job."""
        return _info(self._ask(f"/api/jobs/{quote(job_id, safe='')}"))

    def submit(self, job: Job) -> None:
        """Upload the job's files and start it; TakenError if there is one of this id."""
        try:
            self._client.submit_job(
                entrypoint=ENTRYPOINT,
                submission_id=job.id,
                runtime_env=job.runtime_env,
                metadata=job.metadata,
            )
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            if f"{job.id} already exists" in str(error):
                raise TakenError(job.id) from error
            raise BadInputError(f"{self.address} did not take the job: {last_line(str(error))}") from error

    def log(self, job_id: str) -> AsyncIterator[str]:
        """The job's log from its beginning, as it grows, until the job ends or the connection breaks."""
        text: AsyncIterator[str] = self._client.tail_job_logs(job_id)
        return text

    @cached_property
    def _client(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        # They say what they do, at a level that each sets when it is imported.
        for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env"):
            logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
        # To Ray these outweigh the address that it is given.
        with _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            return JobSubmissionClient(self.address, headers=self._headers)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _ask(self, path: str) -> Any:
        request = urllib.request.Request(self.address + path, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise BadInputError(self._refused()) from None
            raise BadInputError(
                f"{self.address}{path} answers with HTTP {error.code} ({error.reason}): is it a Ray dashboard?"
            ) from None
        except OSError as error:
            raise UnreachableError(
                f"no Ray cluster answers at {self.address} ({getattr(error, 'reason', error)}): is the address "
                "right, does the head run with its dashboard, and can this machine reach the port? "
                "(`ray dashboard` and `kubectl port-forward` open tunnels)"
            ) from None
        except ValueError:
            raise BadInputError(f"{self.address} answers, but is not a Ray dashboard") from None

    def _refused(self) -> str:
        if self._token is None:
            return (
                f"{self.address} wants its cluster's token: give it with --token-file, RAY_AUTH_TOKEN_PATH or "
                "RAY_AUTH_TOKEN (`ray get-auth-token` on the head prints it)"
            )
        return (
            f"{self.address} refused the token, which may be another cluster's or an old one "
            "(`ray get-auth-token` on the head prints the right one)"
        )


def read_token(token_file: Path | None, environment: Mapping[str, str]) -> str | None:
    """The cluster's token, from where Ray looks for it too; None if there is none."""
    if token_file is None and environment.get("RAY_AUTH_TOKEN"):
        return environment["RAY_AUTH_TOKEN"]
    named = token_file or environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named or "~/.ray/auth_token").expanduser()
    try:
        token = path.read_text().strip()
    except OSError as error:
        if not named:
            return None
        raise BadInputError(f"the token file {path} can't be read: {error.strerror}") from error
    if not token:
        raise BadInputError(f"the token file {path} is empty: write the cluster's token into it")
    return token


def last_line(text: str) -> str:
    """The line of a traceback that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    return lines[-1] if lines else "no message"


def _dashboard(address: str) -> str:
    if "://" not in address:
        address = f"http://{address}"
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise BadInputError(
            f"--address {address}: wanted the address of the cluster's dashboard, such as http://HEAD:8265"
        )
    return address.rstrip("/")


def _info(row: Mapping[str, Any]) -> Info:
    return Info(
        id=row.get("submission_id") or "",
        status=row.get("status") or "",
        message=row.get("message") or "",
        exit_code=row.get("driver_exit_code"),
        metadata=row.get("metadata") or {},
    )


@contextmanager
def _without(*names: str) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
