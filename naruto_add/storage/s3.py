"""S3: what a URI names, one client for all, patience with a storage that is down, and errors that a user can act on.

Credentials come from boto3's standard chain alone (environment, ~/.aws, the machine's role) and are never written or
told; of errors only their codes are. The endpoint is AWS's unless AWS_ENDPOINT_URL or a setting names another.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from threading import Event
from typing import Any, TypeVar

from naruto_add.errors import UserError

T = TypeVar("T")

SCHEME = "s3://"
STREAMS = 8
"""Requests that one transfer has on the way at once."""
CONNECT_S, READ_S = 10.0, 60.0
"""How long one try waits for a connection, and for the next bytes."""
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
PASSING = ("BadDigest", "IncompleteBody", "RequestTimeout", "SlowDown", "Throttling", "XAmzContentChecksumMismatch")
"""Refusals that another try may mend, beside all of status 429 and 500 or more."""
CAUSES = {
    ("NoSuchBucket",): "there is no such bucket: make it, or check its name and the endpoint (AWS_ENDPOINT_URL)",
    EXPIRED: "the credentials have expired: renew them, then the same command goes on",
    (
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
        *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"),
    ): "no usable credentials: boto3 looks for them in the environment, ~/.aws and the machine's role",
    (
        *("AccessDenied", "AccountProblem", "AllAccessDisabled", "Forbidden", "403"),
        *("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"),
    ): "access is denied: the credentials must allow to list, get, put and delete there",
}
"""What a refusal's code means and what to do."""


class Refused(UserError):
    """A storage that answers, but not with what it was asked for."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Interrupted(Exception):
    """A transfer was told to stop; what has arrived stays, and the next one goes on from there."""


@dataclass(frozen=True)
class Place:
    """What s3://bucket/prefix names."""

    bucket: str
    prefix: str
    """Empty, or with a slash at its end."""
    endpoint: str | None = None

    @property
    def uri(self) -> str:
        """For messages."""
        return f"{SCHEME}{self.bucket}/{self.prefix}"


@dataclass(frozen=True)
class Patience:
    """How long to go on asking a storage that does not answer: waits that double, each cut short at random."""

    seconds: float = 300.0
    first_s: float = 0.5
    longest_s: float = 20.0

    def wait_s(self, attempt: int) -> float:
        """The wait after so many failures, in seconds ("full jitter": machines that failed together part ways)."""
        return random.uniform(0, min(self.longest_s, self.first_s * 2 ** min(attempt, 30)))  # decides no result


@dataclass(frozen=True)
class Store:
    """A place, and how to ask there."""

    place: Place
    patience: Patience = Patience()
    stop: Event = field(default_factory=Event)
    """Set by another thread: stop as soon as possible."""
    name: str = ""
    """What messages call it; its URI, if empty."""

    def ask(self, call: Callable[[Any], T]) -> T:
        """What `call(client)` returns, tried again while that may help.

        Raises Refused, UserError if the storage has not answered for all the patience, Interrupted if told to stop.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        began, renewed = time.monotonic(), False
        for attempt in count():
            if self.stop.is_set():
                raise Interrupted
            try:
                return call(client(self.place.endpoint))
            except (BotoCoreError, ClientError) as error:
                code = code_of(error)
                if code in EXPIRED and not renewed:  # somebody may have renewed them in ~/.aws
                    client.cache_clear()
                    renewed = True
                    continue
                if not may_pass(error):
                    raise Refused(self.explain(code), code) from error
                wait_s = self.patience.wait_s(attempt)
                if time.monotonic() + wait_s - began > self.patience.seconds:
                    raise UserError(self.silent(code)) from error
            self.stop.wait(wait_s)
        raise AssertionError("count() has no end")

    def explain(self, code: str) -> str:
        """The complaint about a refusal."""
        causes = (text for codes, text in CAUSES.items() if code in codes)
        unknown = "it refuses: check its name, the endpoint (AWS_ENDPOINT_URL) and the credentials"
        return f"{self.name or self.place.uri}: {next(causes, unknown)} ({code})."

    def silent(self, code: str) -> str:
        """The complaint about a storage that does not answer."""
        return (
            f"{self.name or self.place.uri}: no answer for {self.patience.seconds:.0f} s ({code}). Check the endpoint "
            "(AWS_ENDPOINT_URL) and the network. Nothing is lost: when it is back, the same command goes on."
        )

    def at(self, key: str) -> dict[str, str]:
        """Where the object of this key is, as boto3's arguments."""
        return {"Bucket": self.place.bucket, "Key": self.place.prefix + key}

    def read(self, key: str) -> bytes | None:
        """The bytes of a small object; None if there is none."""
        try:
            return self.ask(lambda s3: s3.get_object(**self.at(key))["Body"].read())
        except Refused as refused:
            if refused.code == "NoSuchKey":
                return None
            raise

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The objects below `prefix`, by key, with their sizes in bytes; keys begin after the place's own prefix."""
        return {entry["Key"].removeprefix(self.place.prefix): entry["Size"] for entry in self._listed(prefix)}

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        named = {"Bucket": self.place.bucket, "Prefix": self.place.prefix + prefix}
        while True:
            page = self.ask(lambda s3: s3.list_objects_v2(**named))
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            named["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, key: str) -> None:
        """Remove an object; none there is fine too."""
        self.ask(lambda s3: s3.delete_object(**self.at(key)))


def parse(uri: str, endpoint: str | None = None, setting: str = "--run") -> Place:
    """The place that an s3:// URI names; raises UserError if it names no bucket."""
    bucket, _, prefix = uri.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise UserError(f"{setting} {uri} names no bucket. Write s3://bucket/prefix.")
    return Place(bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else "", endpoint)


@lru_cache(maxsize=4)
def client(endpoint: str | None) -> Any:
    """An S3 client with the standard chain of credentials, short timeouts, and no tries but those of `Store.ask`."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise UserError("s3:// needs boto3: run make install.") from error
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        max_pool_connections=2 * STREAMS,
    )
    session = boto3.session.Session()  # boto3.client would use credentials that somebody else has found in this process
    try:
        return session.client("s3", endpoint_url=endpoint, config=config)
    except ValueError as error:  # boto3 has no class for it
        raise UserError("The endpoint (AWS_ENDPOINT_URL) is no URL: write it like http://127.0.0.1:9000.") from error


def code_of(error: Exception) -> str:
    """The storage's code for an error, or the name of boto3's."""
    from botocore.exceptions import ClientError

    return str(error.response["Error"].get("Code", "?")) if isinstance(error, ClientError) else type(error).__name__


def may_pass(error: Exception) -> bool:
    """Whether another try may do better."""
    from botocore import exceptions as known

    if isinstance(error, known.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status == 429 or status >= 500 or code_of(error) in PASSING
    network = (known.HTTPClientError, known.ConnectionError, known.IncompleteReadError)
    return isinstance(error, (*network, known.ChecksumError, known.FlexibleChecksumError))


def round_trip(store: Store, content: bytes) -> bytes | None:
    """What comes back of a small object, written below the place's prefix and deleted again; raises UserError."""
    key = f".naruto-add-{os.urandom(8).hex()}"
    store.ask(lambda s3: s3.put_object(**store.at(key), Body=content))
    found = store.read(key)
    store.delete(key)
    return found
