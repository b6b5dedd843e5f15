"""What can go wrong, each with a name of its own."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a package is refused. The value is the phrase that a person reads."""

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
    """A package, or one file of it, is not accepted. `reason` is the name, `file` the culprit."""

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
    """The blob store is away or not set up: trying later may help. An OSError, as a full disk."""


class BlobsDenied(BlobsUnavailable):
    """The blob store refuses our credentials: nothing works until an operator corrects them."""


class RegistryError(ModelKitError):
    """Base of the registry's errors."""


class ModelNotFound(RegistryError):
    """The registry has no such model or version."""


class VersionExists(RegistryError):
    """The version is taken by a package with other bytes."""


class RegistryDamaged(RegistryError):
    """An entry's metadata is unreadable or contradicts itself."""


class RegistryUnavailable(RegistryError, OSError):
    """The registry, or what it stands on, is away or not set up: trying later may help.

    It is an OSError, as every outage is: whoever waits out a full disk waits this out too.
    """


class RegistryDenied(RegistryUnavailable):
    """The registry refuses our credentials: nothing works until an operator corrects them."""
