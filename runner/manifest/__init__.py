"""Reads a JSONL manifest: bytes to lines to good specs and bad lines, streamed.

Validation of a line's fields comes in as a function, so that manifests and dialects stay strangers.
"""
