"""The workflow on a cluster: requests, batches of cells, preflight checks, the queue."""
