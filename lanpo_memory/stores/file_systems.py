"""Which file systems a pool may lie on."""

from __future__ import annotations

from pathlib import Path

from lanpo_memory.errors import PoolFileSystemError

__all__ = ["refuse_network"]

# Where two machines may see one file: SQLite's log keeps its index in memory that only the
# processes of one machine share (https://sqlite.org/wal.html).
_NETWORK = {
    "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs",
    "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "smb2", "smb3", "smbfs",
}  # fmt: skip
MOUNTS = Path("/proc/self/mounts")


def refuse_network(path: Path, mounts: Path = MOUNTS) -> None:
    """Raise `PoolFileSystemError` if a file lies on a network file system.

    Where the system does not say what is mounted (other than Linux), nothing is refused.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    real = path.parent.resolve()
    deepest, kind = -1, ""
    for line in lines:
        _, point, file_system, *_ = line.split(" ")
        folder = Path(point.replace("\\040", " "))
        if real.is_relative_to(folder) and len(folder.parts) >= deepest:
            deepest, kind = len(folder.parts), file_system
    if kind in _NETWORK:
        raise PoolFileSystemError(
            f"{path} lies on a network file system ({kind}), where SQLite's write-ahead log does "
            "not work and pools get damaged. Keep the pool on a local disk and write snapshots "
            "to the shared one."
        )
