"""Bytes under keys on an fsspec path: durable writes, appending files, locks, and who this process is.

Words: a *key* is a `/`-separated name below the store's root; *durable* means synced with its folder; a file is
    *retired* when its
writer has closed it and only the background sync still owes it something.

This layer knows nothing of runs or records. It is the only one that makes file system calls, and the one place where
the errors
of the operating system become ours (`storage.failures`).
"""
