"""`localtrack doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.output import write_json, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.tables import Column, format_table
from localtrack.cli.text import printable

if TYPE_CHECKING:
    from localtrack.storage.doctor import Diagnosis

_MEDIA = {
    "local": "a local disk",
    "tmpfs": "memory of this machine (lost when it is switched off)",
    "overlay": "a layered file system, as in a container",
    "nfs": "an NFS mount",
    "smb": "an SMB mount",
    "fuse": "a FUSE mount",
    "cluster": "a cluster file system",
    "unknown": "a file system that localtrack does not know",
    "s3": "an S3 bucket",
    "gs": "a Google Cloud Storage bucket",
    "abfs": "an Azure container",
    "memory": "memory of this process",
    "sftp": "an SFTP server",
    "smb server": "an SMB server, not mounted",
    "other": "an object store",
    "other files": "a server of files",
}


@click.command
@click.argument("path", required=False)
@general_options
@pass_session
def doctor(session: Session, path: str | None) -> None:
    """Test what is safe at PATH, a folder or a URL.

    Two processes try it for real, in a folder that is removed afterwards: whether one sees what the other appends,
    exclusive creation, renames, locks, clocks and speed. Without PATH the store is tested. The exit code is 5 where a
    store would lose something.
    """
    from localtrack.api.location import resolve_store_path
    from localtrack.errors import StateError
    from localtrack.storage.doctor import diagnose
    from localtrack.storage.opening import open_storage

    if path is not None:
        session.refuse_store("Give PATH or --store, not both.")
    diagnosis = diagnose(open_storage(resolve_store_path(path or session.store_path)))
    if session.is_json:
        write_json(_document(diagnosis))
    else:
        write_lines(_page(diagnosis))
    if not diagnosis.is_safe:
        raise StateError(f"{diagnosis.place} is no place for a store.", hint="Use another folder, or a spool.")


def _page(diagnosis: Diagnosis) -> list[str]:
    able, mount = diagnosis.capabilities, diagnosis.mount
    medium = _MEDIA[able.medium]
    lines = [f"{printable(diagnosis.place)} is on {medium}."]
    if mount is not None:
        lines[0] = (
            f"{printable(diagnosis.place)} is on {medium} ({printable(mount.fs_type)} {printable(mount.source)} at "
            f"{printable(mount.point)})."
        )
    rows = [[check.verdict, check.name, check.text] for check in diagnosis.checks]
    lines += ["", *format_table([Column(""), Column("TEST"), Column("WHAT IT FOUND")], rows), ""]
    if not diagnosis.is_safe:
        lines.append("A store here would lose something: see above.")
    elif able.medium == "memory":
        lines.append("Safe for this process, for tests; nothing of it stays.")
    elif able.is_shared:
        lines += [
            "Safe: any number of processes on any number of hosts may log here at once.",
            "Other hosts may see what is logged some seconds later; this test ran on one host.",
        ]
    else:
        lines.append("Safe: any number of processes on this machine may log here at once.")
    return lines


def _document(diagnosis: Diagnosis) -> dict[str, Any]:
    able, mount = diagnosis.capabilities, diagnosis.mount
    return {
        "place": diagnosis.place,
        "medium": able.medium,
        "file_system": mount.fs_type if mount is not None else None,
        "mount_point": mount.point if mount is not None else None,
        "is_safe": diagnosis.is_safe,
        "is_shared": able.is_shared,
        "capabilities": {
            "append": able.can_append,
            "rename": able.can_rename,
            "exclusive_create": able.can_create_exclusively,
            "conditional_put": able.can_put_if_absent,
            "list_after_write": able.lists_after_write,
            "locks": able.locks,
        },
        "checks": [
            {"name": check.name, "verdict": check.verdict, "text": check.text, "figures": dict(check.figures)}
            for check in diagnosis.checks
        ],
    }
