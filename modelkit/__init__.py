"""The adapter registry: blobs, adapter packages, registries, and a disk cache.

Everything here is addressed by SHA-256 and checked at every hand-over. Nothing in this package
imports a model library: a safetensors header is read and judged by itself, pickles are refused.

- `blobs`     a content-addressed store for datasets, checkpoints and packages: a directory or S3
- `package`   an adapter folder and its manifest; the manifest's hash is the adapter's identity
- `registry`  named, integer-versioned packages (`models/{name}/{version}/`)
- `cache`     packages on local disk, shared by the processes of one machine
"""
