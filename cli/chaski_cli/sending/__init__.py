"""`chaski send`: one message from flags, or many from NDJSON, over ingest's HTTP API."""
