"""Rows out of outcomes: lines (JSONL, Batch, raw) and columns (CSV, Parquet).

Written aside and renamed: a reader never sees half a file. The run object stays the API's bytes.
"""
