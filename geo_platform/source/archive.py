"""Zip archives: what may be in one, checked before anything of it is read.

What belongs here: the rules for members. What stays out: which member is the dataset (`members.py`). The archive is read in
place afterwards, so nothing is ever written under a name that an archive chose. Other archives are refused by name.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from geo_platform.errors import (
    ArchiveUnsafe,
    DecompressionBomb,
    SourceEmpty,
    SourceTruncated,
    SourceUnreadable,
    UnsupportedFormat,
)
from geo_platform.source.content import Content

_END_RECORD = b"PK\x05\x06"
_END_RECORD_64 = b"PK\x06\x06"
_END_RECORD_BYTES = 22
_LOCAL_HEADER_BYTES = 30
_MAX_PATH_LETTERS = 1024
_UNICODE_PATH_FIELD = 0x7075
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_REGULAR_TYPES = (0, stat.S_IFREG, stat.S_IFDIR)


@dataclass(frozen=True)
class ArchiveLimits:
    """The figures and their reasons stand in docs/opening-files.md."""

    max_members: int = 20_000
    max_directory_bytes: int = 16 * 1024**2
    max_total_bytes: int = 64 * 1024**3
    max_ratio: float = 200.0
    ratio_from_bytes: int = 64 * 1024**2


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True)
class Member:
    """A regular file of a checked archive. `path` is what GDAL calls it."""

    path: str
    info: zipfile.ZipInfo

    @property
    def size_bytes(self) -> int:
        return self.info.file_size


@contextmanager
def checked_archive(
    content: Content, limits: ArchiveLimits
) -> Iterator[tuple[zipfile.ZipFile, tuple[Member, ...]]]:
    """The open archive and its regular files, every rule of this module held.

    Raises ArchiveUnsafe, DecompressionBomb, SourceEmpty, SourceTruncated, SourceUnreadable, UnsupportedFormat; damage met
    while the context lasts becomes SourceUnreadable.
    """
    name = content.name
    with content.open() as stream:
        directory_offset = _check_directory(stream, content.size_bytes, name, limits)
    try:
        with content.open() as stream, zipfile.ZipFile(stream) as archive:
            yield archive, check_members(archive.infolist(), name, limits, directory_offset)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        OSError,
        zlib.error,
        struct.error,
        UnicodeError,
    ) as error:
        raise SourceUnreadable(
            f"The archive {name!r} is damaged: a member of it cannot be read.", cause=str(error)
        ) from error


def _check_directory(stream: BinaryIO, size_bytes: int, name: str, limits: ArchiveLimits) -> int:
    """Where the central directory begins. Its length is checked before zipfile reads all of it into memory."""
    tail_bytes = min(size_bytes, _END_RECORD_BYTES + 65535)
    stream.seek(size_bytes - tail_bytes)
    tail = stream.read(tail_bytes)
    at = tail.rfind(_END_RECORD)
    if at < 0 or len(tail) - at < _END_RECORD_BYTES:
        raise SourceTruncated(f"The archive {name!r} ends without its table of contents.")
    members, directory_bytes, offset, comment_bytes = struct.unpack_from("<HIIH", tail, at + 10)
    end = at
    if members == 0xFFFF or 0xFFFFFFFF in (directory_bytes, offset):
        end = tail.rfind(_END_RECORD_64, 0, at)
        if end < 0 or at - end < 56:
            raise SourceUnreadable(
                f"The archive {name!r} has no zip64 table of contents where one should be."
            )
        members, directory_bytes, offset = struct.unpack_from("<QQQ", tail, end + 32)
    if members == 0:
        raise SourceEmpty(f"The archive {name!r} holds no files.")
    if members > limits.max_members or directory_bytes > limits.max_directory_bytes:
        raise DecompressionBomb(
            f"The archive {name!r} holds {members} members; {limits.max_members} are allowed."
        )
    if (
        offset + directory_bytes != size_bytes - tail_bytes + end
        or at + _END_RECORD_BYTES + comment_bytes != tail_bytes
    ):
        raise ArchiveUnsafe(
            f"The table of contents of {name!r} is not where it says: there may be another archive in the same file."
        )
    return int(offset)


def check_members(
    infos: list[zipfile.ZipInfo], name: str, limits: ArchiveLimits, directory_offset: int
) -> tuple[Member, ...]:
    """Every rule that the table of contents alone decides."""
    if len(infos) > limits.max_members:
        raise DecompressionBomb(
            f"The archive {name!r} holds {len(infos)} members; {limits.max_members} are allowed."
        )
    members = [Member(_checked_path(info, name), info) for info in infos]
    for member in members:
        _check_kind(member, name)
        _check_ratio(member, name, limits)
    _check_duplicates(members, name)
    _check_overlap(members, name, directory_offset)
    total = sum(member.size_bytes for member in members)
    if total > limits.max_total_bytes:
        raise DecompressionBomb(
            f"The archive {name!r} unpacks to {total} bytes; {limits.max_total_bytes} are allowed."
        )
    return tuple(member for member in members if not member.info.is_dir())


def gdal_member_path(info: zipfile.ZipInfo, name: str) -> str:
    """The name as GDAL's /vsizip/ decodes it: Info-ZIP's Unicode name where there is one, else UTF-8 by the flag, else code page 437.

    A Unicode name that does not fit the plain one would show one name here and another there: ArchiveUnsafe.
    """
    raw = _raw_name(info)
    alternatives = _unicode_names(info.extra)
    if not alternatives:
        return raw
    checksum, path = alternatives[0]
    is_utf8 = bool(info.flag_bits & _UTF8_FLAG)
    if (
        len(alternatives) > 1
        or checksum != zlib.crc32(raw.encode("utf-8" if is_utf8 else "cp437"))
        or (is_utf8 and path != raw)
    ):
        raise ArchiveUnsafe(f"The member {raw!r} of {name!r} has a second name that does not fit.")
    return path


def _unicode_names(extra: bytes) -> list[tuple[int, str]]:
    """(CRC-32 of the plain name, name) of the extra fields 0x7075 (APPNOTE 4.6.9)."""
    found: list[tuple[int, str]] = []
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH_FIELD and length > 5:
            found.append(
                (struct.unpack_from("<I", extra, 5)[0], extra[9 : 4 + length].decode("utf-8"))
            )
        extra = extra[4 + length :]
    return found


def _checked_path(info: zipfile.ZipInfo, name: str) -> str:
    path = gdal_member_path(info, name)
    parts = path.rstrip("/").split("/")
    reason = None
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        reason = "has a control character in its name"
    elif not path or path.startswith("/") or "\\" in path or (len(path) > 1 and path[1] == ":"):
        reason = "has an absolute or a Windows path"
    elif any(part in ("", ".", "..") for part in parts):
        reason = "leads outside the archive or has an empty folder name"
    elif len(path) > _MAX_PATH_LETTERS:
        reason = "has a name too long for a file"
    if reason:
        raise ArchiveUnsafe(f"The member {path!r} of {name!r} {reason}.")
    return path


def _check_kind(member: Member, name: str) -> None:
    if stat.S_IFMT(member.info.external_attr >> 16) not in _REGULAR_TYPES:
        raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} is a link or a device.")
    if member.info.flag_bits & _ENCRYPTED_FLAG:
        raise ArchiveUnsafe(
            f"The member {member.path!r} of {name!r} is encrypted.",
            remedy="Zip it without a password.",
        )
    if member.info.compress_type not in _METHODS:
        raise UnsupportedFormat(
            f"The member {member.path!r} of {name!r} is compressed by method {member.info.compress_type}, which GDAL cannot read in place.",
            remedy="Zip it with the usual compression (Deflate).",
        )


def _check_ratio(member: Member, name: str, limits: ArchiveLimits) -> None:
    packed, unpacked = member.info.compress_size, member.size_bytes
    if member.info.compress_type == zipfile.ZIP_STORED and packed != unpacked:
        raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} says two different sizes.")
    if unpacked > limits.ratio_from_bytes and unpacked > limits.max_ratio * max(packed, 1):
        raise DecompressionBomb(
            f"The member {member.path!r} of {name!r} unpacks to {unpacked} bytes, {unpacked / max(packed, 1):.0f} times its size; "
            f"{limits.max_ratio:.0f} times is allowed.",
            remedy="Send it unpacked, or compressed inside its own format.",
        )


def _check_duplicates(members: list[Member], name: str) -> None:
    seen: set[str] = set()
    for member in members:
        folded = member.path.rstrip("/").casefold()
        if folded in seen:
            raise ArchiveUnsafe(f"The archive {name!r} holds {member.path!r} twice.")
        seen.add(folded)


def _check_overlap(members: list[Member], name: str, directory_offset: int) -> None:
    """Members that share bytes are how a small archive unpacks to a huge one without a suspicious ratio."""
    ordered = sorted(members, key=lambda member: member.info.header_offset)
    ends = [_least_end(member) for member in ordered]
    starts = [member.info.header_offset for member in ordered[1:]] + [directory_offset]
    for member, end, start in zip(ordered, ends, starts, strict=True):
        if end > start:
            raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} overlaps another one.")


def _least_end(member: Member) -> int:
    """The local header repeats the name; what else it holds is not known here and only makes it longer."""
    encoding = "utf-8" if member.info.flag_bits & _UTF8_FLAG else "cp437"
    name_bytes = len(_raw_name(member.info).encode(encoding, "replace"))
    return member.info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + member.info.compress_size


def _raw_name(info: zipfile.ZipInfo) -> str:
    """As the archive has it; zipfile cuts `filename` at the first NUL."""
    return str(getattr(info, "orig_filename", info.filename))
