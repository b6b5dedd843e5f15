"""A client of any S3 server (path-style, signature v4), and its errors."""

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
# A conditional write failed: another writer created the key first.
TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
# The server refuses conditional writes as unknown.
UNCONDITIONAL = frozenset({"501", "NotImplemented"})
DENIED_STATUSES = (401, 403)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket's address. An empty `endpoint_url` is AWS; without a key, boto3 searches for one."""

    name: str
    endpoint_url: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    region: str = "us-east-1"

    @property
    def place(self) -> str:
        """The address for messages, without credentials."""
        return f"S3 bucket {self.name!r} at {self.endpoint_url or 'AWS'}"

    def connect(self) -> Any:
        """A thread-safe boto3 client. Raises RegistryUnavailable if boto3 is not installed."""
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
            # Many servers do not know trailing checksums; our own hashes cover every byte.
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
    """The S3 settings. An empty text stands for "not given"."""

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
    """Turn boto3's exceptions into RegistryUnavailable or RegistryDenied, with one-line messages.

    NoSuchKey becomes FileNotFoundError, for the caller to handle.
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
