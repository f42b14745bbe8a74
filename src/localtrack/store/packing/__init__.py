"""Many small finished runs in a few files, for file systems that count files. FORMAT.md section 19.

A packed run reads as it did: `storage.packed` shows its files where they lay. Artifacts are not packed.
"""
