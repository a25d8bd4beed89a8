#!/usr/bin/env python3
"""Strict, dependency-free LTX reader, written from docs/LTX.md (not from the Go code). Slow; for small files.
usage: ltx_check.py FILE...          detect the format, verify, print one line each
       ltx_check.py --all DIR        check every file of DIR/manifest.json against its 'strict' verdict
"""
import struct, sys, hashlib

FLAG = 1 << 63
# ---------------------------------------------------------------- CRC-64/GO-ISO (poly 0x1B reflected)
_T = []
for _i in range(256):
    _c = _i
    for _ in range(8): _c = (_c >> 1) ^ 0xD800000000000000 if _c & 1 else _c >> 1
    _T.append(_c)
def crc64(b, crc=0):
    crc ^= 0xFFFFFFFFFFFFFFFF
    t = _T
    for x in b: crc = t[(crc ^ x) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFFFFFFFFFF
def page_sum(pgno, data): return FLAG | crc64(data, crc64(struct.pack('>I', pgno)))
def lock_pgno(ps): return 0x40000000 // ps + 1
def db_sum(db, ps):
    c = 0
    for i in range(len(db) // ps):
        if i + 1 != lock_pgno(ps): c ^= page_sum(i + 1, db[i*ps:(i+1)*ps])
    return FLAG | c
# ---------------------------------------------------------------- xxh32 (seed 0), for LZ4 frames
def xxh32(b):
    P1, P2, P3, P4, P5, M = 2654435761, 2246822519, 3266489917, 668265263, 374761393, 0xFFFFFFFF
    rot = lambda v, n: ((v << n) | (v >> (32 - n))) & M
    n, i = len(b), 0
    if n >= 16:
        v = [(P1 + P2) & M, P2, 0, (-P1) & M]
        while i + 16 <= n:
            for k, w in enumerate(struct.unpack_from('<4I', b, i)): v[k] = rot((v[k] + w * P2) & M, 13) * P1 & M
            i += 16
        h = (rot(v[0], 1) + rot(v[1], 7) + rot(v[2], 12) + rot(v[3], 18)) & M
    else: h = P5
    h = (h + n) & M
    while i + 4 <= n: h = rot((h + struct.unpack_from('<I', b, i)[0] * P3) & M, 17) * P4 & M; i += 4
    while i < n: h = rot((h + b[i] * P5) & M, 11) * P1 & M; i += 1
    h ^= h >> 15; h = h * P2 & M; h ^= h >> 13; h = h * P3 & M; h ^= h >> 16
    return h
class Bad(Exception): pass
def lz4_block(src, limit, prefix=b''):
    """decode one LZ4 block; never yields more than limit bytes"""
    out = bytearray(prefix); base = len(prefix); i = 0; n = len(src)
    def more(v):
        nonlocal i
        if v == 15:
            while True:
                if i >= n: raise Bad('decompress')
                x = src[i]; i += 1; v += x
                if x != 255: break
        return v
    if n == 0: raise Bad('decompress')
    while True:
        if i >= n: raise Bad('decompress')
        tok = src[i]; i += 1
        l = more(tok >> 4)
        if i + l > n or len(out) - base + l > limit: raise Bad('decompress')
        out += src[i:i+l]; i += l
        if i == n: break
        if i + 2 > n: raise Bad('decompress')
        off = src[i] | src[i+1] << 8; i += 2
        m = more(tok & 15) + 4
        if off == 0 or off > len(out) or len(out) - base + m > limit: raise Bad('decompress')
        for _ in range(m): out.append(out[-off])
    return bytes(out[base:])
def lz4_frame(b, pos, limit):
    """returns (content, position after the frame)"""
    def take(k):
        nonlocal pos
        if pos + k > len(b): raise Bad('truncated')
        r = b[pos:pos+k]; pos += k; return r
    if take(4) != b'\x04\x22\x4d\x18': raise Bad('lz4-frame')
    d = take(2); flg, bd = d
    if flg >> 6 != 1: raise Bad('lz4-frame')
    size = None
    if flg & 8: s = take(8); d += s; size = struct.unpack('<Q', s)[0]
    if take(1)[0] != (xxh32(d) >> 8) & 0xFF: raise Bad('lz4-frame')
    bmax = 1 << (8 + 2 * (bd >> 4 & 7)); out = b''
    while True:
        s = struct.unpack('<I', take(4))[0]
        if s == 0: break
        raw = take(s & 0x7FFFFFFF)
        if flg & 16: take(4)
        if s >> 31: blk = raw
        else: blk = lz4_block(raw, bmax, b'' if flg & 32 else out[-65536:])
        out += blk
        if len(out) > limit: raise Bad('decompress')
    if flg & 4:
        if struct.unpack('<I', take(4))[0] != xxh32(out): raise Bad('lz4-checksum')
    if size is not None and size != len(out): raise Bad('lz4-frame')
    return out, pos
# ---------------------------------------------------------------- header
class Header: pass
def header(b):
    if len(b) < 100:
        raise Bad('truncated')
    h = Header()
    (h.magic, h.flags, h.page_size, h.commit, h.min_txid, h.max_txid, h.timestamp, h.pre, h.wal_offset, h.wal_size,
     h.salt1, h.salt2, h.node) = struct.unpack_from('>4sIIIQQqQqqIIQ', b)
    if h.magic != b'LTX1': raise Bad('magic')
    return h
def check_header(h, fmt):
    allowed = {'v1raw': 2, 'v1lz4': 3, 'v2': 2, 'v3': 2}[fmt]
    if h.flags & ~allowed or (fmt == 'v1lz4') != bool(h.flags & 1): raise Bad('header-flags')
    if h.page_size not in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536): raise Bad('page-size')
    if h.min_txid == 0 or h.max_txid == 0 or h.min_txid > h.max_txid: raise Bad('txid')
    if h.wal_offset < 0 or h.wal_size < 0: raise Bad('wal')
    if h.wal_offset == 0 and (h.salt1 or h.salt2 or h.wal_size): raise Bad('wal')
    if h.min_txid == 1 or h.flags & 2:
        if h.pre: raise Bad('header')
    elif not h.pre & FLAG: raise Bad('header')
def detect(b):
    """v1raw / v1lz4 / v2 / v3; files carry no version field"""
    h = header(b)
    if h.flags & 1: return 'v1lz4'
    if len(b) == 120: return 'v1raw'          # no pages
    if len(b) == 129: return 'v2'
    if len(b) == 131: return 'v3'
    M = b'\x04\x22\x4d\x18'
    if h.page_size and (len(b) - 120) % (h.page_size + 4) == 0 and b[-20:-16] == bytes(4):
        # right size for raw pages; a v2/v3 file can hit it by chance, so let the checksum decide
        try: read(b, 'v1raw'); return 'v1raw'
        except Bad: pass
    if b[104:108] == M: return 'v2'
    if b[104:106] == b'\0\1' or b[104:110] == b'\0\0' + M: return 'v3'
    return 'v1raw'
# ---------------------------------------------------------------- file
def uvarint(b, pos, end):
    v = s = 0
    while True:
        if pos >= end: raise Bad('index')
        x = b[pos]; pos += 1; v |= (x & 0x7F) << s; s += 7
        if x < 128: return v, pos
        if s > 63: raise Bad('index')
def read(b, fmt):
    """full strict verification; returns (header, pages, trailer, frames)"""
    h = header(b); check_header(h, fmt)
    ps = h.page_size; nochk = h.flags & 2; snap = h.min_txid == 1; lock = lock_pgno(ps)
    crc = crc64(b[:100]); pages = []; frames = []; pos = 100; end = len(b); roll = 0; prev = 0
    if fmt in ('v1raw', 'v1lz4'):
        if fmt == 'v1lz4': body, pos = lz4_frame(b, 100, (ps + 4) * (h.commit + 1) + 4)
        else: body = b[100:]
        q = 0
        while True:
            if q + 4 > len(body): raise Bad('truncated')
            pgno = struct.unpack_from('>I', body, q)[0]
            if pgno == 0: q += 4; break
            if q + 4 + ps > len(body): raise Bad('truncated')
            pages.append((pgno, body[q+4:q+4+ps])); q += 4 + ps
        crc = crc64(body[:q], crc)
        if fmt == 'v1raw': pos = 100 + q
        elif q != len(body): raise Bad('structure')
    else:
        hl = 4 if fmt == 'v2' else 6
        while True:
            if pos + hl > end: raise Bad('truncated')
            pgno = struct.unpack_from('>I', b, pos)[0]; fl = 0 if fmt == 'v2' else struct.unpack_from('>H', b, pos+4)[0]
            start = pos
            if pgno == 0 and fl == 0: crc = crc64(b[pos:pos+hl], crc); pos += hl; break
            if pgno == 0: raise Bad('page-number')
            if fl & ~1: raise Bad('page-flags')
            if fl & 1:
                if pos + 10 > end: raise Bad('truncated')
                n = struct.unpack_from('>I', b, pos+6)[0]
                if pos + 10 + n > end: raise Bad('truncated')
                data = lz4_block(b[pos+10:pos+10+n], ps)
                crc = crc64(b[pos:pos+10], crc); pos += 10 + n
            else:
                crc = crc64(b[pos:pos+hl], crc)
                data, pos = lz4_frame(b, pos + hl, ps)
            if len(data) != ps: raise Bad('decompress')
            crc = crc64(data, crc)
            pages.append((pgno, data)); frames.append((pgno, start, pos - start))
        ix = pos
        if end - ix < 25: raise Bad('truncated')
        crc = crc64(b[ix:end-16], crc)
    if end - pos < 16: raise Bad('truncated')
    if fmt in ('v1raw', 'v1lz4') and end - pos > 16: raise Bad('trailing-data')
    post, fsum = struct.unpack_from('>QQ', b, end - 16)
    crc = crc64(b[end-16:end-8], crc)
    if fsum != FLAG | crc: raise Bad('file-checksum')
    # ---- everything below is covered by the file checksum: a failure is a writer's bug, not bit rot
    if fmt in ('v2', 'v3'):
        p = ix; idx = []; ie = end - 24
        while True:
            pgno, p = uvarint(b, p, ie)
            if pgno == 0: break
            off, p = uvarint(b, p, ie); sz, p = uvarint(b, p, ie); idx.append((pgno, off, sz))
        if p != ie or struct.unpack_from('>Q', b, ie)[0] != p - ix or idx != frames: raise Bad('index')
    for pgno, data in pages:
        if pgno > h.commit: raise Bad('page-range')
        if pgno == lock: raise Bad('lock-page')
        if pgno <= prev: raise Bad('page-order')
        if snap and pgno != prev + (2 if prev == lock - 1 else 1): raise Bad('snapshot-incomplete')
        prev = pgno
        if snap and not nochk: roll ^= page_sum(pgno, data)
    if snap and h.commit and prev != h.commit and not (h.commit == lock and prev == lock - 1): raise Bad('snapshot-incomplete')
    if nochk:
        if post: raise Bad('trailer')
    else:
        if not post & FLAG: raise Bad('trailer')
        if h.commit == 0 and post != FLAG: raise Bad('post-apply')
        if snap and post != FLAG | roll: raise Bad('post-apply')
    return h, pages, (post, fsum), frames
def apply(db, h, pages, post):
    """db: bytes or None; returns the new bytes"""
    ps = h.page_size; nochk = h.flags & 2
    if h.min_txid != 1 and not nochk and db_sum(db, ps) != h.pre: raise Bad('pre-apply')
    out = bytearray(db[:h.commit*ps] if h.min_txid != 1 else b'')
    out += bytes(h.commit * ps - len(out))
    for pgno, d in pages: out[(pgno-1)*ps:pgno*ps] = d
    if not nochk and db_sum(out, ps) != post: raise Bad('post-apply')
    return bytes(out)
FAMILY = {'v1-raw': 'v1raw', 'v1-lz4': 'v1lz4', 'v2-frame': 'v2', 'v3-frame': 'v3', 'v3-block': 'v3'}
def verdict(b, fmt):
    try: read(b, fmt); return 'accept'
    except Bad as e: return f'reject:{e}'
if __name__ == '__main__':
    if len(sys.argv) == 3 and sys.argv[1] == '--all':
        import json, os
        d = sys.argv[2]; man = json.load(open(f'{d}/manifest.json')); bad = n = 0
        for e in man['files']:
            if e['file'].endswith('.gz'): continue
            b = open(f"{d}/{e['file']}", 'rb').read(); n += 1
            assert hashlib.sha256(b).hexdigest() == e['sha256'], e['file']
            v = verdict(b, FAMILY[e['format']]); want = e['strict'].split(' ')[0].split(';')[0]
            ok = v == 'accept' if want.startswith('accept') else v.split(':')[-1] in want.split(':', 1)[1].split('|')
            if not ok: bad += 1; print('MISMATCH', e['file'], 'got', v, 'want', e['strict'])
            if v == 'accept' and not e['file'].split('/')[0].endswith('bad') and detect(b) != FAMILY[e['format']]:
                bad += 1; print('DETECT', e['file'], detect(b))
        print(f'{n} files, {bad} mismatches'); sys.exit(bad != 0)
    for fn in sys.argv[1:]:
        b = open(fn, 'rb').read()
        try:
            fmt = detect(b); h, pages, (post, fsum), _ = read(b, fmt)
            print(f'{fn}: ok {fmt} txid {h.min_txid:016x}-{h.max_txid:016x} page_size {h.page_size} commit {h.commit} pages {len(pages)} pre {h.pre:016x} post {post:016x}')
        except Bad as e: print(f'{fn}: reject:{e}')
