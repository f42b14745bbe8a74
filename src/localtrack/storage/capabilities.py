"""What each kind of place for a store can do, as data: nothing is assumed that does not stand here.

`localtrack doctor` tests a place for real; this table is what the library goes by without a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from localtrack.storage.mounts import Mount

Locks = Literal["all hosts", "this machine", "this mount", "none"]
"""Who sees a lock (`flock`) that a process holds: everybody who has the place mounted; the processes of this machine,
by whatever path; those that use this very mount; nobody."""


class Capabilities(NamedTuple):
    """What a medium can do."""

    medium: str
    """Its kind: a key of `MEDIA`."""
    can_append: bool
    """What one process appends, another one sees; else logs are kept as numbered objects (FORMAT.md 5.4)."""
    can_rename: bool
    """A rename replaces its target, and readers see the old file or the new one, whole."""
    can_create_exclusively: bool
    """Of several that create one name at the same moment, one succeeds."""
    can_put_if_absent: bool
    """A whole object can be put under the condition that its name is free."""
    lists_after_write: bool
    """What was written is in every listing from then on, on every host."""
    has_folders: bool
    """Folders have to be made; else they are but parts of names."""
    locks: Locks
    is_shared: bool
    """Other machines may write here too."""
    flush_age_s: float = 5.0
    """What was logged waits no longer than this before it is flushed in the background."""
    flush_share: float = 0.0
    """As a share of the age of the log: flushing a long run less often keeps the number of its objects low."""
    flush_age_limit_s: float = 5.0

    @property
    def can_show_life(self) -> bool:
        """Whether a lock on a log tells every process of this machine that its writer is alive."""
        return self.locks == "this machine"

    @property
    def tells_changes(self) -> bool:
        """Whether this machine's kernel takes note of every change, for whoever watches a folder (inotify).

        Not where files lie in layers of which one may be changed beneath the other.
        """
        return self.medium in ("local", "tmpfs")

    def flush_after_s(self, log_age_s: float) -> float:
        """Return how long a record may wait in a log of that age."""
        return min(max(self.flush_age_s, log_age_s * self.flush_share), max(self.flush_age_limit_s, self.flush_age_s))


def _files(
    medium: str, locks: Locks, *, is_shared: bool, lists_after_write: bool = True, can_append: bool = True
) -> Capabilities:
    return Capabilities(
        medium=medium,
        can_append=can_append,
        can_rename=True,
        can_create_exclusively=True,
        can_put_if_absent=False,
        lists_after_write=lists_after_write,
        has_folders=True,
        locks=locks,
        is_shared=is_shared,
    )


def _objects(
    medium: str,
    *,
    can_put_if_absent: bool,
    can_rename: bool = False,
    has_folders: bool = False,
    is_shared: bool = True,
) -> Capabilities:
    return Capabilities(
        medium=medium,
        can_append=False,
        can_rename=can_rename,
        can_create_exclusively=can_put_if_absent,
        can_put_if_absent=can_put_if_absent,
        lists_after_write=True,
        has_folders=has_folders,
        locks="none",
        is_shared=is_shared,
        flush_share=0.02,
        flush_age_limit_s=120.0,
    )


# Sources: flock(2) "NFS details", nfs(5) "local_lock", "DATA AND METADATA COHERENCE"; mount.cifs(8) "nobrl", "actimeo";
# mount.lustre(8) "flock"; fuse(4): without the server's help the kernel keeps flock to the mount; S3 "strong
# read-after-write consistency" (2020) and "conditional writes" (2024); Cloud Storage "request preconditions"; Azure
# Blob "conditional headers"; draft-ietf-secsh-filexfer-02 6.5: a rename refuses a target that is there.
MEDIA: Final[dict[str, Capabilities]] = {
    item.medium: item
    for item in (
        _files("local", "this machine", is_shared=False),
        _files("tmpfs", "this machine", is_shared=False),
        _files("overlay", "this machine", is_shared=False),
        _files("nfs", "all hosts", is_shared=True, lists_after_write=False),
        _files("smb", "all hosts", is_shared=True, lists_after_write=False),
        _files("fuse", "this mount", is_shared=True, lists_after_write=False),
        _files("cluster", "all hosts", is_shared=True),
        _files("unknown", "this mount", is_shared=True, lists_after_write=False),
        _objects("s3", can_put_if_absent=True),
        _objects("gs", can_put_if_absent=True),
        _objects("abfs", can_put_if_absent=True),
        _objects("memory", can_put_if_absent=True, is_shared=False),
        _objects("sftp", can_put_if_absent=True, can_rename=True, has_folders=True),
        _objects("smb server", can_put_if_absent=True, can_rename=True, has_folders=True),
        _objects("other", can_put_if_absent=False),
        _objects("other files", can_put_if_absent=False, has_folders=True),
    )
}
"""By kind. `smb` is a mount, `smb server` what a URL names. `sftp` could append, but two sessions of one server may see
different ends of a file that is written to; so may those of an SMB server that grants leases."""

_BY_TYPE: Final[dict[str, str]] = {
    **dict.fromkeys(("nfs", "nfs4"), "nfs"),
    **dict.fromkeys(("cifs", "smb3", "smbfs"), "smb"),
    **dict.fromkeys(("tmpfs", "ramfs"), "tmpfs"),
    **dict.fromkeys(("overlay", "aufs", "fuse-overlayfs", "fuse.fuse-overlayfs"), "overlay"),
    **dict.fromkeys(("lustre", "gpfs", "beegfs", "ceph", "ocfs2", "gfs2", "panfs", "wekafs", "pvfs2"), "cluster"),
    **dict.fromkeys(
        (
            "ext2",
            "ext3",
            "ext4",
            "xfs",
            "btrfs",
            "zfs",
            "f2fs",
            "jfs",
            "reiserfs",
            "bcachefs",
            "vfat",
            "exfat",
            "ntfs3",
        ),
        "local",
    ),
    "fuse": "fuse",
    "fuseblk": "fuse",
}
_LOCAL_LOCK_OPTIONS: Final = frozenset(
    ["nolock", "nobrl", "localflock", "local_lock=all", "local_lock=flock", "local_lock=posix,flock"]
)
"""Mount options with which locks stay on the machine that takes them."""
_NO_LOCK_OPTIONS: Final = frozenset(["noflock"])
_BY_PROTOCOL: Final[dict[str, str]] = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "abfs"),
    "memory": "memory",
    **dict.fromkeys(("sftp", "ssh"), "sftp"),
    "smb": "smb server",
    **dict.fromkeys(("hdfs", "arrow_hdfs", "webhdfs", "ftp", "webdav", "local", "file"), "other files"),
}


def of_mount(mount: Mount | None) -> Capabilities:
    """Return what a mounted file system can do; None where the system does not tell: taken for a local disk."""
    if mount is None:
        return MEDIA["local"]
    fs_type = mount.fs_type
    name = _BY_TYPE.get(fs_type) or ("fuse" if fs_type.startswith("fuse.") else "unknown")
    medium = MEDIA[name]
    if medium.is_shared and _NO_LOCK_OPTIONS & mount.options:
        return medium._replace(locks="none")
    if medium.is_shared and _LOCAL_LOCK_OPTIONS & mount.options:
        return medium._replace(locks="this mount")
    return medium


def of_protocol(protocol: str) -> Capabilities:
    """Return what a protocol of fsspec can do."""
    return MEDIA[_BY_PROTOCOL.get(protocol.lower(), "other")]
