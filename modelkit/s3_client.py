"""A client of an S3 server, and what its failures mean. Any server: path-style, signature v4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelkit.errors import RegistryDenied, RegistryUnavailable

CONNECT_SECONDS = 3
READ_SECONDS = 60
ATTEMPTS = 3
NOT_FOUND = frozenset({"404", "NoSuchKey", "NotFound"})
# Somebody else created the key first.
TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
# The server does not know conditional writes, and says so.
UNCONDITIONAL = frozenset({"501", "NotImplemented"})
DENIED_STATUSES = (401, 403)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is. An empty `endpoint_url` means AWS; no key means boto3's own search."""

    name: str
    endpoint_url: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    region: str = "us-east-1"

    @property
    def place(self) -> str:
        """For people, without credentials."""
        return f"S3 bucket {self.name!r} at {self.endpoint_url or 'AWS'}"

    def connect(self) -> Any:
        """A boto3 client, safe for threads. Raises RegistryUnavailable without boto3."""
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise RegistryUnavailable(f"the package {error.name} is not installed") from None
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            # Trailing checksums are newer than many servers; our own hashes cover every byte.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with outages(self):
            return boto3.session.Session().client(
                "s3",
                endpoint_url=self.endpoint_url or None,
                aws_access_key_id=self.access_key_id or None,
                aws_secret_access_key=self.secret_access_key or None,
                region_name=self.region,
                config=config,
            )


class S3Settings(Protocol):
    """What the settings say of S3. An empty text stands for "not given"."""

    @property
    def s3_endpoint_url(self) -> str: ...
    @property
    def s3_bucket(self) -> str: ...
    @property
    def s3_access_key_id(self) -> str: ...
    @property
    def s3_secret_access_key(self) -> str: ...
    @property
    def s3_region(self) -> str: ...


def bucket_of(settings: S3Settings) -> Bucket:
    """The bucket that the settings name; an empty name stands for none."""
    return Bucket(
        settings.s3_bucket,
        settings.s3_endpoint_url,
        settings.s3_access_key_id,
        settings.s3_secret_access_key,
        settings.s3_region,
    )


def code_of(error: Any) -> str:
    """The error code of a botocore ClientError."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def outages(bucket: Bucket) -> Iterator[None]:
    """Turn what boto3 raises into RegistryUnavailable or RegistryDenied, in one line.

    "Not found" is the caller's to expect: NoSuchKey passes as FileNotFoundError.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )
    from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

    place = bucket.place
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "NoSuchBucket":
            raise RegistryUnavailable(f"{place} does not exist") from error
        if code in NOT_FOUND:
            raise FileNotFoundError(f"{place} has no such key") from error
        if status in DENIED_STATUSES:
            raise RegistryDenied(f"{place} refuses the credentials ({code})") from error
        raise RegistryUnavailable(f"{place} answers {status} {code}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise RegistryDenied(f"{place}: {error}") from error
    except RetriesExceededError as error:
        raise RegistryUnavailable(f"{place}: {error.last_exception}") from error
    except (BotoCoreError, Boto3Error, S3DownloadFailedError) as error:
        raise RegistryUnavailable(f"{place}: {error}") from error
