"""Files at any fsspec URL: list, read, and write so that a name is either absent or whole.

A location is a path, `file://`, `memory://`, `s3://` or whatever fsspec has a file system for. On a local disk a write
goes to a hidden temporary file in the same folder, which is flushed to the disk and renamed over the final name; on an
object store it is one upload, which the store shows only once it is complete (S3, Google Cloud Storage, Azure). The
price on a store is that the bytes of one `open_atomic` are held in memory; `upload_tree` streams.

A file system that is neither (HDFS, SFTP) is written in place and has no such promise.

Listings are never cached: another process's commit is seen at once.

    places.py    what is at a location
    files.py     read and write one file
    trees.py     copy folders
    failures.py  what is raised where a store fails
    patience.py  many requests at once; again, and not for ever
"""

from mrc.storage.failures import explain, explained, located
from mrc.storage.files import (
    check_inert,
    create,
    open_atomic,
    read_bytes,
    read_table,
    read_text,
    remove,
    write_bytes,
    write_table,
    write_text,
)
from mrc.storage.patience import for_each, persistently
from mrc.storage.places import (
    absolute,
    exists,
    is_local,
    join,
    list_files,
    list_folders,
    list_names,
    local_path,
    resolve,
    stamp,
)
from mrc.storage.trees import download_tree, local_copy, upload_tree

__all__ = [
    "absolute",
    "check_inert",
    "create",
    "download_tree",
    "exists",
    "explain",
    "explained",
    "for_each",
    "is_local",
    "join",
    "list_files",
    "list_folders",
    "list_names",
    "local_copy",
    "local_path",
    "located",
    "open_atomic",
    "persistently",
    "read_bytes",
    "read_table",
    "read_text",
    "remove",
    "resolve",
    "stamp",
    "upload_tree",
    "write_bytes",
    "write_table",
    "write_text",
]
