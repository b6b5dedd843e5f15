"""The adapter registry: blobs, adapter packages, registries, and a disk cache.

All bytes are addressed by SHA-256 and verified at every hand-over. This package imports no model
library: it parses safetensors headers itself and refuses pickles.

- `blobs`     a content-addressed store for datasets, checkpoints and packages: a directory or S3
- `package`   an adapter folder and its manifest; the manifest's hash is the adapter's identity
- `registry`  named, integer-versioned packages (`models/{name}/{version}/`)
- `cache`     packages on local disk, shared by the processes of one machine
"""
