"""The errors of ModelKit, and the reasons to refuse a package."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a package is refused. The value is the phrase of the error message."""

    MISSING = "is missing"
    UNREADABLE = "cannot be read"
    SYMLINK = "is a symbolic link"
    NOT_A_FILE = "is not a regular file"
    BAD_PATH = "is not a plain file name"
    PICKLE = "is a pickle, which is never loaded"
    FILE_TYPE = "is of a type that does not belong in an adapter package"
    TOO_MANY_FILES = "holds too many files"
    EXTRA_FILE = "is not listed in the manifest"
    WRONG_SIZE = "has another size than the manifest says"
    WRONG_HASH = "has another SHA-256 than the manifest says"
    WRONG_IDENTITY = "is not the package that was asked for"
    BAD_MANIFEST = "is not a valid manifest"
    BAD_TENSORS = "is not a valid safetensors file"
    BAD_CONFIG = "is not a valid adapter configuration"
    NOT_LORA = "does not describe a LoRA adapter"
    MODULES_TO_SAVE = "has modules_to_save, which cannot be served"
    BIAS = "trains biases, which cannot be served"
    NEW_VOCABULARY = "changes the vocabulary or the embeddings, which cannot be served"
    NOT_SERVABLE = "uses an option that cannot be served"


class ModelKitError(Exception):
    """Base of every error of this package."""


class PackageRefused(ModelKitError):
    """A package is refused because of `file`, for `reason`."""

    def __init__(self, reason: Refusal, file: str, detail: str = "") -> None:
        super().__init__(reason, file, detail)
        self.reason = reason
        self.file = file
        self.detail = detail

    def __str__(self) -> str:
        text = f"{self.file} {self.reason.value}"
        return f"{text}: {self.detail}" if self.detail else text


class BlobMissing(ModelKitError):
    """No blob has this SHA-256."""


class BlobCorrupt(ModelKitError):
    """The stored bytes no longer have the SHA-256 that names them."""


class BlobTooLarge(ModelKitError):
    """The bytes offered exceed the limit that the caller set."""


class BlobsUnavailable(ModelKitError, OSError):
    """The blob store is down or not configured: retry later. An OSError, like a full disk."""


class BlobsDenied(BlobsUnavailable):
    """The blob store refuses our credentials: an operator must correct them."""


class RegistryError(ModelKitError):
    """Base of the registry's errors."""


class ModelNotFound(RegistryError):
    """The registry has no such model or version."""


class VersionExists(RegistryError):
    """The version is taken by a package with other bytes."""


class RegistryDamaged(RegistryError):
    """An entry's metadata is unreadable or contradicts itself."""


class RegistryUnavailable(RegistryError, OSError):
    """The registry or its storage is down or not configured: retry later.

    An OSError, like every outage, so that code which retries after a full disk retries here too.
    """


class RegistryDenied(RegistryUnavailable):
    """The registry refuses our credentials: an operator must correct them."""
