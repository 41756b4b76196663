"""Check a zip archive before any member is read: names, kinds, sizes, overlaps.

GDAL then reads the members in place, so no file is ever created under a name from the archive.
`members.py` finds the dataset among the members.

Called by `driver_files.py`, `members.py` and `sniff.py`.
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
_MAX_PATH_CHARACTERS = 1024
_UNICODE_PATH_FIELD = 0x7075
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_REGULAR_TYPES = (0, stat.S_IFREG, stat.S_IFDIR)


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits for an archive. docs/opening-files.md gives the reason for each limit.

    `max_ratio` applies only to members that unpack to more than `ratio_from_bytes`.
    """

    max_members: int = 20_000
    max_directory_bytes: int = 16 * 1024**2
    max_total_bytes: int = 64 * 1024**3
    max_ratio: float = 200.0
    ratio_from_bytes: int = 64 * 1024**2


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True)
class Member:
    """A member of an archive. `path` is its name as GDAL decodes it."""

    path: str
    info: zipfile.ZipInfo

    @property
    def size_bytes(self) -> int:
        return self.info.file_size


@contextmanager
def checked_archive(
    content: Content, limits: ArchiveLimits
) -> Iterator[tuple[zipfile.ZipFile, tuple[Member, ...]]]:
    """Open an archive, check it by every rule of this module, and yield (archive, files in it).

    Raises ArchiveUnsafe, DecompressionBomb: the archive breaks a rule or a limit.
    Raises SourceEmpty, SourceTruncated: the archive holds no files, or ends early.
    Raises UnsupportedFormat: a member is compressed by a method that GDAL cannot read in place.
    Raises SourceUnreadable: the archive is damaged. Damage to a member is reported when the member
    is read inside the context.
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
            f"The archive {name!r} is damaged: a member cannot be read.", cause=str(error)
        ) from error


def _check_directory(stream: BinaryIO, size_bytes: int, name: str, limits: ArchiveLimits) -> int:
    """Return the offset of the central directory, checked before zipfile reads it into memory."""
    tail_bytes = min(size_bytes, _END_RECORD_BYTES + 65535)
    stream.seek(size_bytes - tail_bytes)
    tail = stream.read(tail_bytes)
    record = tail.rfind(_END_RECORD)
    if record < 0 or len(tail) - record < _END_RECORD_BYTES:
        raise SourceTruncated(f"The archive {name!r} ends before its table of contents.")
    members, directory_bytes, offset, comment_bytes = struct.unpack_from("<HIIH", tail, record + 10)
    end = record
    if members == 0xFFFF or 0xFFFFFFFF in (directory_bytes, offset):
        end = tail.rfind(_END_RECORD_64, 0, record)
        if end < 0 or record - end < 56:
            raise SourceUnreadable(
                f"The archive {name!r} refers to a zip64 table of contents but has none."
            )
        members, directory_bytes, offset = struct.unpack_from("<QQQ", tail, end + 32)
    if members == 0:
        raise SourceEmpty(f"The archive {name!r} holds no files.")
    if members > limits.max_members or directory_bytes > limits.max_directory_bytes:
        raise DecompressionBomb(
            f"The archive {name!r} holds {members} members; the limit is {limits.max_members}."
        )
    if (
        offset + directory_bytes != size_bytes - tail_bytes + end
        or record + _END_RECORD_BYTES + comment_bytes != tail_bytes
    ):
        raise ArchiveUnsafe(
            f"The table of contents of {name!r} is not at the offset that its end record gives: "
            "the file may contain a second archive."
        )
    return int(offset)


def check_members(
    infos: list[zipfile.ZipInfo], name: str, limits: ArchiveLimits, directory_offset: int
) -> tuple[Member, ...]:
    """Check the members by the table of contents alone, and return the members that are files.

    Raises ArchiveUnsafe, DecompressionBomb: a member breaks a rule or a limit.
    Raises UnsupportedFormat: a member is compressed by a method that GDAL cannot read in place.
    """
    if len(infos) > limits.max_members:
        raise DecompressionBomb(
            f"The archive {name!r} holds {len(infos)} members; the limit is {limits.max_members}."
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
            f"The archive {name!r} unpacks to {total} bytes; the limit is {limits.max_total_bytes}."
        )
    return tuple(member for member in members if not member.info.is_dir())


def gdal_member_path(info: zipfile.ZipInfo, name: str) -> str:
    """Return the name of a member as GDAL's /vsizip/ decodes it.

    GDAL takes Info-ZIP's Unicode name if there is one. Otherwise it decodes the plain name: as
    UTF-8 if the UTF-8 flag is set, else as code page 437.

    Raises ArchiveUnsafe: the Unicode name does not match the plain name. Two programs could then
    read two different names.
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
        raise ArchiveUnsafe(f"The member {raw!r} of {name!r} has a second, different name.")
    return path


def _unicode_names(extra: bytes) -> list[tuple[int, str]]:
    """Return (CRC-32 of the plain name, name) of each extra field 0x7075 (APPNOTE 4.6.9)."""
    names: list[tuple[int, str]] = []
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH_FIELD and length > 5:
            names.append(
                (struct.unpack_from("<I", extra, 5)[0], extra[9 : 4 + length].decode("utf-8"))
            )
        extra = extra[4 + length :]
    return names


def _checked_path(info: zipfile.ZipInfo, name: str) -> str:
    path = gdal_member_path(info, name)
    parts = path.rstrip("/").split("/")
    reason = None
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        reason = "has a control character in its name"
    elif not path or path.startswith("/") or "\\" in path or (len(path) > 1 and path[1] == ":"):
        reason = "has an absolute or Windows path"
    elif any(part in ("", ".", "..") for part in parts):
        reason = "has a path with an empty, '.' or '..' part"
    elif len(path) > _MAX_PATH_CHARACTERS:
        reason = f"has a name longer than {_MAX_PATH_CHARACTERS} characters"
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
            f"The member {member.path!r} of {name!r} uses compression "
            f"method {member.info.compress_type}, which GDAL cannot read in place.",
            remedy="Zip it with Deflate compression, the default of most programs.",
        )


def _check_ratio(member: Member, name: str, limits: ArchiveLimits) -> None:
    packed, unpacked = member.info.compress_size, member.size_bytes
    if member.info.compress_type == zipfile.ZIP_STORED and packed != unpacked:
        raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} has two different sizes.")
    if unpacked > limits.ratio_from_bytes and unpacked > limits.max_ratio * max(packed, 1):
        raise DecompressionBomb(
            f"The member {member.path!r} of {name!r} unpacks to {unpacked} bytes, "
            f"{unpacked / max(packed, 1):.0f} times its size; "
            f"the limit is {limits.max_ratio:.0f} times.",
            remedy="Submit it unpacked, or compressed inside its own format.",
        )


def _check_duplicates(members: list[Member], name: str) -> None:
    paths: set[str] = set()
    for member in members:
        lower_path = member.path.rstrip("/").casefold()
        if lower_path in paths:
            raise ArchiveUnsafe(f"The archive {name!r} holds {member.path!r} twice.")
        paths.add(lower_path)


def _check_overlap(members: list[Member], name: str, directory_offset: int) -> None:
    # If members share bytes, a small archive unpacks to a huge size without a suspicious ratio.
    ordered = sorted(members, key=lambda member: member.info.header_offset)
    ends = [_least_end(member) for member in ordered]
    starts = [member.info.header_offset for member in ordered[1:]] + [directory_offset]
    for member, end, start in zip(ordered, ends, starts, strict=True):
        if end > start:
            raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} overlaps another member.")


def _least_end(member: Member) -> int:
    # The local header repeats the name. An extra field, not read here, may make it longer.
    encoding = "utf-8" if member.info.flag_bits & _UTF8_FLAG else "cp437"
    name_bytes = len(_raw_name(member.info).encode(encoding, "replace"))
    return member.info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + member.info.compress_size


def _raw_name(info: zipfile.ZipInfo) -> str:
    # zipfile cuts `filename` at the first NUL; `orig_filename` is the whole name.
    return str(getattr(info, "orig_filename", info.filename))
