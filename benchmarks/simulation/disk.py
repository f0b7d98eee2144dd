"""A file system in memory that knows what would survive a loss of power.

POSIX promises less than it seems: bytes are safe once the *file* was synced, and a name once its
*folder* was.  The two are kept apart here, for every file and every folder.  Nodes are immutable, so a
picture of the whole disk is a shallow copy.  `files` lets the product's own code run on it.
"""

import errno
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Parts = tuple[str, ...]
Change = tuple[tuple[str, int | None], ...]
"""Names of a folder that lead to another node after an operation, or to none."""


class File(NamedTuple):
    """Bytes as programs see them, and those that are safe."""

    data: bytes = b""
    synced: bytes = b""
    mtime: float = 0.0


class Folder(NamedTuple):
    """The safe names, and the changes since, oldest first; a rename is one change."""

    synced: tuple[tuple[str, int], ...] = ()
    changes: tuple[Change, ...] = ()


class Link(NamedTuple):
    target: str


Node = File | Folder | Link
Picture = tuple[dict[int, Node], int]
ROOT = 0


class Disk:
    """One file system.  Paths are tuples of names; errors are the operating system's."""

    def __init__(self, picture: Picture | None = None) -> None:
        self._nodes: dict[int, Node] = {ROOT: Folder()} if picture is None else dict(picture[0])
        self._next = 1 if picture is None else picture[1]

    def picture(self) -> Picture:
        """All of it as it is now."""
        return dict(self._nodes), self._next

    # Looking.

    def find(self, path: Parts) -> int:
        """The node a path leads to; FileNotFoundError or NotADirectoryError."""
        at = ROOT
        for name in path:
            node = self._nodes[at]
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", "/".join(path))
            found = _entries(node).get(name)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", "/".join(path))
            at = found
        return at

    def node(self, number: int) -> Node:
        return self._nodes[number]

    def names(self, path: Parts) -> list[str]:
        return sorted(_entries(self._folder(self.find(path))))

    def files(self, path: Parts = ()) -> Iterator[tuple[Parts, File]]:
        """Every file below a path."""
        for name in self.names(path):
            node = self._nodes[self.find((*path, name))]
            if isinstance(node, Folder):
                yield from self.files((*path, name))
            elif isinstance(node, File):
                yield (*path, name), node

    def digest(self) -> str:
        """Of all that has an effect on the future: names and bytes, the safe and the others."""
        return hashlib.blake2b(repr(self._described(ROOT)).encode(), digest_size=16).hexdigest()

    # Changing.

    def create(self, path: Parts, mtime: float, *, exclusive: bool) -> int:
        """A new empty file, or an old one emptied."""
        folder = self.find(path[:-1])
        found = _entries(self._folder(folder)).get(path[-1])
        if found is None:
            return self._add(folder, path[-1], File(mtime=mtime))
        if exclusive:
            raise FileExistsError(errno.EEXIST, "exists", "/".join(path))
        old = self._file(found)
        self._nodes[found] = old._replace(data=b"", mtime=mtime)
        return found

    def write(self, number: int, offset: int, data: bytes, mtime: float) -> None:
        old = self._file(number)
        grown = old.data.ljust(offset, b"\0")
        self._nodes[number] = old._replace(
            data=grown[:offset] + data + grown[offset + len(data) :], mtime=mtime
        )

    def truncate(self, number: int, size: int) -> None:
        old = self._file(number)
        self._nodes[number] = old._replace(data=old.data[:size].ljust(size, b"\0"))

    def touch(self, number: int, mtime: float) -> None:
        self._nodes[number] = self._file(number)._replace(mtime=mtime)

    def mkdir(self, path: Parts) -> None:
        self._new(path, Folder())

    def symlink(self, path: Parts, target: str) -> None:
        self._new(path, Link(target))

    def link(self, source: Parts, target: Parts) -> None:
        number = self.find(source)
        self._absent(target)
        self._change(self.find(target[:-1]), ((target[-1], number),))

    def unlink(self, path: Parts) -> None:
        if isinstance(self._nodes[self.find(path)], Folder):
            raise IsADirectoryError(errno.EISDIR, "is a directory", "/".join(path))
        self._change(self.find(path[:-1]), ((path[-1], None),))

    def rmdir(self, path: Parts) -> None:
        if self.names(path):
            raise OSError(errno.ENOTEMPTY, "not empty", "/".join(path))
        self._change(self.find(path[:-1]), ((path[-1], None),))

    def rename(self, source: Parts, target: Parts) -> None:
        number, into, out = self.find(source), self.find(target[:-1]), self.find(source[:-1])
        there = _entries(self._folder(into)).get(target[-1])
        if there is not None and isinstance(self._nodes[there], Folder) and self.names(target):
            raise OSError(errno.ENOTEMPTY, "not empty", "/".join(target))
        if into == out:
            self._change(into, ((source[-1], None), (target[-1], number)))
        else:
            self._change(into, ((target[-1], number),))
            self._change(out, ((source[-1], None),))

    def sync(self, number: int) -> None:
        """fsync: of a file its bytes, of a folder its names; never the one by the other."""
        node = self._nodes[number]
        if isinstance(node, File):
            self._nodes[number] = node._replace(synced=node.data)
        elif isinstance(node, Folder):
            self._nodes[number] = Folder(tuple(sorted(_entries(node).items())))

    def lose_power(self, rng: random.Random | None) -> None:
        """Keep what was synced; of the rest nothing, or with `rng` whatever it chooses."""
        self._nodes = {number: _survivor(node, rng) for number, node in self._nodes.items()}

    def sync_everything(self) -> None:
        for number in list(self._nodes):
            self.sync(number)

    def _new(self, path: Parts, node: Node) -> None:
        folder = self.find(path[:-1])
        self._absent(path)
        self._add(folder, path[-1], node)

    def _absent(self, path: Parts) -> None:
        if path[-1] in _entries(self._folder(self.find(path[:-1]))):
            raise FileExistsError(errno.EEXIST, "exists", "/".join(path))

    def _add(self, folder: int, name: str, node: Node) -> int:
        number, self._next = self._next, self._next + 1
        self._nodes[number] = node
        self._change(folder, ((name, number),))
        return number

    def _change(self, folder: int, change: Change) -> None:
        node = self._folder(folder)
        self._nodes[folder] = node._replace(changes=(*node.changes, change))

    def _file(self, number: int) -> File:
        node = self._nodes[number]
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        return node

    def _folder(self, number: int) -> Folder:
        node = self._nodes[number]
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        return node

    def _described(self, number: int) -> Any:
        node = self._nodes[number]
        if not isinstance(node, Folder):
            return node[:2]
        entries = _entries(node)
        inside = [(name, self._described(each)) for name, each in sorted(entries.items())]
        safe = [name for name, each in node.synced if entries.get(name) == each]
        return inside, safe, bool(node.changes)


def _entries(folder: Folder) -> dict[str, int]:
    return _applied(folder, lambda _: True)


def _applied(folder: Folder, kept: Callable[[Change], bool]) -> dict[str, int]:
    names = dict(folder.synced)
    for change in folder.changes:
        if kept(change):
            for name, number in change:
                if number is None:
                    names.pop(name, None)
                else:
                    names[name] = number
    return names


def _survivor(node: Node, rng: random.Random | None) -> Node:
    if isinstance(node, Folder):
        kept = _applied(node, lambda _: rng is not None and rng.random() < 0.5)
        return Folder(tuple(sorted(kept.items())))
    if isinstance(node, File) and node.data != node.synced:
        data = node.synced if rng is None else _torn(node, rng)
        return File(data, data, node.mtime)
    return node


def _torn(file: File, rng: random.Random) -> bytes:
    """All, nothing, a part, or the right length without the bytes: file systems do each of these."""
    choice = rng.randrange(4)
    if choice == 0 or not file.data.startswith(file.synced):
        return rng.choice((file.synced, file.data))
    if choice == 1:
        return file.data
    cut = rng.randint(len(file.synced), len(file.data))
    return file.data[:cut] if choice == 2 else file.data[:cut].ljust(len(file.data), b"\0")
