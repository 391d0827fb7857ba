"""Binary files of known kinds, generated: pictures, sound, archives, data."""

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import struct
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.tasks.text_files import Author

EPOCH = (2024, 1, 1, 0, 0, 0)


def _picture(a: Author) -> np.ndarray:
    """Return a picture with soft and hard edges, uint8 [height, width, 3]."""
    height, width = a.number(16, 90), a.number(16, 90)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / a.number(3, 30) + columns / a.number(3, 30) + k) for k in range(3)]
    picture = np.stack(waves, axis=-1) * 127 + 128
    picture[a.number(0, height) :, a.number(0, width) :] = a.number(0, 255)
    return picture.astype(np.uint8)


def _png(a: Author) -> bytes:
    pixels = _picture(a)
    height, width, _ = pixels.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _bmp(a: Author) -> bytes:
    pixels = _picture(a)
    height, width, _ = pixels.shape
    rows = b"".join(row.tobytes() + bytes(-3 * width % 4) for row in pixels[::-1, :, ::-1])
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def _gif(a: Author) -> bytes:
    """Return a GIF whose codes are all nine bits wide, so that none has to be remembered."""
    pixels = _picture(a)[:, :, 0]
    height, width = pixels.shape
    clear, end = 256, 257
    codes = []
    for start in range(0, pixels.size, 200):
        codes += [clear, *pixels.ravel()[start : start + 200].tolist()]
    bits = sum(code << 9 * place for place, code in enumerate([*codes, end]))
    data = bits.to_bytes((9 * (len(codes) + 1) + 7) // 8, "little")
    blocks = [data[start : start + 255] for start in range(0, len(data), 255)]
    palette = bytes(level for grey in range(256) for level in (grey, grey, 255 - grey))
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + palette
    image = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x08"
    return head + image + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0;"


def _wav(a: Author) -> bytes:
    file = io.BytesIO()
    time = np.arange(a.number(800, 4000)) / 8000
    sound = 12000 * np.sin(2 * np.pi * a.number(100, 900) * time) + a.generator.normal(
        scale=200, size=time.size
    )
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(sound.astype("<i2").tobytes())
    return file.getvalue()


def _contents(a: Author) -> list[tuple[str, bytes]]:
    count = a.number(2, 6)
    return [(f"{a.word()}/{a.name()}{i}.txt", a.text(3, 30).encode()) for i in range(count)]


def _zip(a: Author) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _contents(a):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _tar(a: Author) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in _contents(a):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_700_000_000
            info.uname = info.gname = "user"
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _pdf(a: Author) -> bytes:
    content = "BT /F1 12 Tf 72 720 Td "
    content += " ".join(f"({a.sentence()}) Tj 0 -14 Td" for _ in range(a.number(5, 20))) + " ET"
    stream = zlib.compress(content.encode())
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content_of in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content_of)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(file)
    return file + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


def _sqlite(a: Author) -> bytes:
    with sqlite3.connect(":memory:") as database:
        table = a.name()
        database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
        rows = [(a.name(" "), a.number() / 7) for _ in range(a.number(5, 40))]
        database.executemany(f"INSERT INTO {table} (name, price) VALUES (?, ?)", rows)
        database.commit()
        return database.serialize()


def _npy(a: Author) -> bytes:
    file = io.BytesIO()
    np.save(file, a.generator.normal(size=(a.number(5, 40), a.number(2, 9))))
    return file.getvalue()


def _pickle(a: Author) -> bytes:
    rows = [{a.word(): a.number(), a.name(): [a.sentence()]} for _ in range(a.number(5, 30))]
    return pickle.dumps(rows, protocol=4)


def _packed(compress: Callable[[bytes], bytes]) -> Callable[[Author], bytes]:
    return lambda a: compress(a.text(20, 90).encode())


BINARY_FILES: Mapping[str, Callable[[Author], bytes]] = {
    "bmp": _bmp,
    "bzip": _packed(bz2.compress),
    "gif": _gif,
    "gzip": _packed(lambda content: gzip.compress(content, mtime=0)),
    "npy": _npy,
    "pdf": _pdf,
    "pickle": _pickle,
    "png": _png,
    "sqlite": _sqlite,
    "tar": _tar,
    "wav": _wav,
    "xz": _packed(lzma.compress),
    "zip": _zip,
}
"""By the name that Magika has for the kind."""
