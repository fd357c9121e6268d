"""The workflow on a cluster: requests, cells that share a submission, what to look at before, what is going on."""
