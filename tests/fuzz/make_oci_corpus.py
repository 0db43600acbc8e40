#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the hostile layers, documents and archives of corpus/layer, corpus/oci and
corpus/oci_archive: make_oci_corpus.py.  tests/unit/test_layer.c and test_oci.c have the expected
results.  Each run writes the same files."""

import gzip
import json
import os
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import oci_images as oci # pylint: disable=wrong-import-position
from oci_images import entry, file, folder, hard_link, opaque, symlink, tar_of, whiteout

BASE = tar_of(folder("d"), file("d/old", b"old"), file("f", b"contents"), symlink("l", "d"))
HEX = "0123456789abcdef" * 4
DIGEST = "sha256:" + HEX


def raw(name, size=0, kind=tarfile.REGTYPE, **more):
    """A header that tarfile's own writer would correct."""
    info = entry(name, kind, **more)[0]
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")


def sparse(name, size, *parts, kept=b""):
    """A sparse file with a map (pax, version 1.0); parts are (offset, length)."""
    table = "".join(f"{offset}\n{length}\n" for offset, length in parts)
    table = f"{len(parts)}\n{table}".encode()
    table += b"\0" * (-len(table) % 512)
    return file(f"GNUSparseFile.0/{name}", table + kept, pax_headers={
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size)})


END = b"\0" * 1024
GZIP = lambda data: gzip.compress(data, 9, mtime=0)

LAYERS = {
    # escapes
    "dotdot": [tar_of(file("../escape"))],
    "dotdot-inside": [tar_of(file("d/../../escape"))],
    "absolute": [tar_of(file("/etc/passwd", b"x"))],
    "link-out": [tar_of(symlink("out", "../../.."), file("out/etc/passwd", b"x"))],
    "link-to-root": [tar_of(symlink("out", "/"), file("out/f", b"x"))],
    "links-through-links": [tar_of(symlink("a", "b"), symlink("b", "/c/.."), symlink("c", "d"),
                                   file("a/f", b"x"))],
    "link-loop": [tar_of(symlink("a", "b"), symlink("b", "a"), file("a/f"))],
    "link-to-itself": [tar_of(symlink("a", "a"), file("a/f"))],
    "link-grows": [tar_of(symlink("a", "a/" + "x/" * 1500), file("a/f"))],
    "link-to-nothing": [tar_of(symlink("a", "none"), file("a/f", b"x"))],
    "hard-link-out": [tar_of(hard_link("h", "../../etc/passwd"))],
    "hard-link-absolute": [tar_of(file("f", b"x"), hard_link("h", "/f"))],
    "hard-link-to-none": [tar_of(hard_link("h", "none"))],
    "hard-link-to-itself": [tar_of(hard_link("h", "h"))],
    "hard-link-to-folder": [tar_of(folder("d"), hard_link("h", "d"))],
    "hard-link-to-root": [tar_of(hard_link("h", "/"))],
    "hard-link-over-its-folder": [tar_of(file("d/f"), hard_link("d", "d/f"))],
    "hard-link-through-link": [BASE, tar_of(hard_link("h", "l/old"))],
    "under-a-file": [tar_of(file("f"), file("f/g"))],
    "under-a-device": [tar_of(entry("n", tarfile.CHRTYPE, device=(1, 3)), file("n/g"))],
    # the root
    "root-is-a-file": [tar_of(file("."))],
    "root-is-a-link": [tar_of(symlink("/", "/etc"))],
    "root-is-a-hard-link": [tar_of(file("f"), hard_link("./", "f"))],
    "root-twice": [tar_of(folder(".", mode=0o700), folder("/", mode=0o711))],
    # whiteouts
    "whiteout-of-nothing": [BASE, raw(".wh.") + END],
    "whiteout-of-dot": [BASE, raw(".wh..") + END],
    "whiteout-of-dotdot": [BASE, raw("d/.wh...") + END],
    "whiteout-leaves": [BASE, tar_of(file("../.wh.f"))],
    "whiteout": [BASE, tar_of(whiteout("f"), whiteout("l/old"), whiteout("none/x"))],
    "whiteout-keeps-its-layer": [BASE, tar_of(file("d/new"), whiteout("d"), file("f", b"2"),
                                              whiteout("f"))],
    "whiteout-in-first-layer": [tar_of(file("f"), whiteout("f"))],
    "opaque-root": [BASE, tar_of(file("new"), opaque(""))],
    "opaque-first-and-last": [BASE, tar_of(opaque("d"), file("d/new"), opaque("d"))],
    "opaque-of-a-file": [BASE, tar_of(opaque("f"))],
    "aufs-notes": [BASE, tar_of(folder(".wh..wh.plnk"), file(".wh..wh.aufs"))],
    "aufs-links": [tar_of(folder(".wh..wh.plnk"), file(".wh..wh.plnk/7.1", b"x"),
                          hard_link("a", ".wh..wh.plnk/7.1"), hard_link("b", ".wh..wh.plnk/7.1"),
                          file(".wh..wh.orph/x"), folder("d"), file("d/.wh..wh.tmp/x/y"))],
    "aufs-links-end-with-their-layer": [tar_of(file(".wh..wh.plnk/7.1", b"x")),
                                        tar_of(hard_link("a", ".wh..wh.plnk/7.1"))],
    # holes
    "sparse": [tar_of(sparse("f", 9 << 20, (1 << 20, 3), (9 << 20, 0), kept=b"abc"))],
    "sparse-all-hole": [tar_of(sparse("f", 9 << 20, (9 << 20, 0)))],
    "sparse-too-large": [tar_of(sparse("f", 17 << 20, (17 << 20, 0)))],
    "sparse-backwards": [tar_of(sparse("f", 9 << 20, (1 << 20, 3), (0, 3), kept=b"abcdef"))],
    "sparse-overlaps": [tar_of(sparse("f", 9 << 20, (0, 4), (2, 4), kept=b"abcdefgh"))],
    "sparse-outside": [tar_of(sparse("f", 100, (90, 20), kept=b"x" * 20))],
    "sparse-claims-more": [tar_of(sparse("f", 9 << 20, (0, 1 << 19), kept=b"abc"))],
    "sparse-claims-too-much": [tar_of(sparse("f", 9 << 20, (0, 2 << 20), kept=b"abc"))],
    # duplicates and changes of type
    "duplicates": [tar_of(file("f", b"1"), file("f", b"22"), file("f", b"333"))],
    "folder-to-link-to-folder": [BASE, tar_of(symlink("d", "/"), folder("d"), file("d/x"))],
    "file-to-folder": [BASE, tar_of(folder("f"), file("f/x"))],
    "folder-to-file": [BASE, tar_of(file("d", b"x"))],
    # entries that are no plain files
    "devices": [tar_of(entry("null", tarfile.CHRTYPE, device=(1, 3)),
                       entry("disk", tarfile.BLKTYPE, device=(259, 1000)))],
    "device-out-of-range": [tar_of(entry("n", tarfile.CHRTYPE, device=(5000, 0)))],
    "fifo": [tar_of(entry("p", tarfile.FIFOTYPE))],
    "owner-out-of-range": [tar_of(file("f", uid=1 << 32), form=tarfile.GNU_FORMAT)],
    # names
    "not-utf8": [tar_of(file("\udcff\udcfe\udc80"), form=tarfile.GNU_FORMAT)],
    "control-characters": [tar_of(file("a\nb\x1b[31m"))],
    "long-name": [tar_of(file("n" * 256))],
    "long-path": [tar_of(file("/".join(["n" * 200] * 21)))],
    "long-target": [tar_of(symlink("l", "t" * 4096))],
    "empty-target": [raw("l", kind=tarfile.SYMTYPE) + END],
    "deep": [tar_of(file("d/" * 40 + "f"))],
    # bombs
    "huge-file": [raw("f", 1 << 40) + b"x" * 512],
    "huge-sum": [b"".join(raw(f"f{i}", 0) for i in range(3)) + raw("f", (16 << 20) + 1)],
    "many-entries": [GZIP(b"".join(raw("same") for _ in range(1200)) + END)],
    "many-files": [GZIP(b"".join(raw(f"f{i}") for i in range(600)) + END)],
    "zeros-behind-the-end": [GZIP(tar_of(file("f")) + b"\0" * (4 << 20))],
    "gzip-in-gzip": [GZIP(GZIP(b"\0" * (4 << 20)))],
    # damaged
    "empty": [b""],
    "empty-between": [BASE, b"", tar_of(whiteout("f"))],
    "empty-gzip": [GZIP(b"")],
    "empty-zstd": [bytes.fromhex("28b52ffd240001000099e9d851")],
    "empty-tar": [END, BASE, END],
    "no-tar": [b"this is no tar at all" * 100],
    "cut-header": [BASE[:700]],
    "cut-contents": [raw("f", 5000) + b"x" * 1000],
    "cut-end": [BASE[:512]],
    "umoci-insert": [raw("f", 6) + b"hello\n"], # the digest shows that it is complete
    "cut-gzip": [GZIP(BASE)[:-20]],
    "bad-checksum": [BASE[:20] + b"X" + BASE[21:]],
    "second-is-damaged": [BASE, b"x" * 3000],
    "wrong-digest": [GZIP(BASE)],
    "xz": [b"\xfd7zXZ\0" + b"\0" * 600],
    "no-layers": [],
}


def descriptor(kind="application/vnd.oci.image.manifest.v1+json", **more):
    return {"mediaType": kind, "digest": DIGEST, "size": 3, **more}


CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def index(*manifests, **more):
    return {"schemaVersion": 2, "manifests": list(manifests), **more}


def manifest(*layers, **more):
    return {"schemaVersion": 2, "config": descriptor(CONFIG_TYPE), "layers": list(layers), **more}


def config(**more):
    return {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [DIGEST]}, **more}


DOCUMENTS = {
    "i-good": index(descriptor(platform={"os": "linux", "architecture": "amd64"})),
    "i-empty": index(),
    "i-no-version": {"manifests": []},
    "i-version-1": {"schemaVersion": 1, "manifests": []},
    "i-no-list": {"schemaVersion": 2},
    "i-list-is-object": {"schemaVersion": 2, "manifests": {}},
    "i-item-is-text": index("text"),
    "i-array": [],
    "i-too-many": index(*[{}] * 1025),
    "i-path-for-a-digest": index({**descriptor(), "digest": "sha256:../../../etc/passwd"}),
    "i-upper-case-digest": index({**descriptor(), "digest": DIGEST.upper()}),
    "i-short-digest": index({**descriptor(), "digest": DIGEST[:-1]}),
    "i-sha512": index({**descriptor(), "digest": "sha512:" + HEX * 2}),
    "i-negative-size": index({**descriptor(), "size": -1}),
    "i-size-is-text": index({**descriptor(), "size": "3"}),
    "i-platform-is-text": index(descriptor(platform="linux/amd64")),
    "i-empty-platform": index(descriptor(platform={"os": "", "architecture": "", "variant": ""})),
    "i-one-is-bad": index({"digest": 7}, descriptor(platform={"os": "linux",
                                                              "architecture": "amd64"})),
    "i-names": index(descriptor(annotations={
        "org.opencontainers.image.ref.name": "v1",
        "io.containerd.image.name": "docker.io/library/web:v1"})),
    "i-artifact": index(descriptor(artifactType="application/vnd.example")),
    "i-no-architecture": index(descriptor(platform={"os": "linux"})),
    "i-tag-is-number": index(descriptor(annotations={"org.opencontainers.image.ref.name": 7})),
    "i-null-annotations": index(descriptor(annotations=None)),
    "i-deep": b'{"schemaVersion":2,"x":' + b"[" * 100 + b"]" * 100 + b',"manifests":[]}',
    "i-twice": b'{"schemaVersion":2,"manifests":[],"manifests":[]}',
    "i-cut": b'{"schemaVersion":2,"manif',
    "i-not-utf8": b'{"schemaVersion":2,"manifests":[],"x":"\xff"}',
    "m-good": manifest(descriptor(LAYER_TYPE)),
    "m-no-layers": manifest(),
    "m-config-is-none": {"schemaVersion": 2, "layers": []},
    "m-config-of-a-chart": {**manifest(), "config": descriptor("application/vnd.cncf.helm")},
    "m-encrypted-layer": manifest(descriptor(LAYER_TYPE + "+encrypted")),
    "m-too-many-layers": manifest(*[descriptor(LAYER_TYPE)] * 257),
    "m-size-overflows": manifest({**descriptor(LAYER_TYPE), "size": 1 << 63}),
    "f-good": {**manifest(descriptor("any/thing")), "config": descriptor("application/vnd.oci.empty.v1+json")},
    "f-image": manifest(descriptor(LAYER_TYPE)),
    "f-two": {**manifest(descriptor("a/b"), descriptor("a/b")), "config": descriptor("a/b")},
    "f-none": {**manifest(), "config": descriptor("a/b")},
    "f-path-for-a-digest": {**manifest({**descriptor("a/b"), "digest": "sha256:../x"}), "config": descriptor("a/b")},
    "c-good": config(config={"Cmd": ["/bin/sh"], "Env": ["A=b"], "WorkingDir": "srv"}),
    "c-nulls": config(config={"Cmd": None, "Entrypoint": None, "Env": None, "User": ""}),
    "c-no-config": config(),
    "c-null-config": config(config=None),
    "c-no-os": {"architecture": "amd64", "rootfs": {"diff_ids": []}},
    "c-no-rootfs": {"os": "linux", "architecture": "amd64"},
    "c-command-is-text": config(config={"Cmd": "/bin/sh"}),
    "c-empty-program": config(config={"Entrypoint": [""], "Cmd": ["x"]}),
    "c-empty-words": config(config={"Entrypoint": [""], "Cmd": ["", "x"]}),
    "c-nul-in-a-word": b'{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]},'
                       b'"config":{"Cmd":["a\\u0000b"]}}',
    "c-variable-without-a-name": config(config={"Env": ["=x"]}),
    "c-long-user": config(config={"User": "u" * 256}),
    "c-long-workdir": config(config={"WorkingDir": "/" + "w" * 4095}),
    "c-many-words": config(config={"Cmd": ["x"] * 9000}),
    "c-no-platform": {"os": "", "architecture": None, "rootfs": {"diff_ids": []}},
    "c-bad-signal": config(config={"StopSignal": "SIGNONE" * 30}),
    "c-bad-diff-id": config(rootfs={"diff_ids": ["md5:1234"]}),
    "s-good": [{"Config": HEX + ".json", "RepoTags": ["web:v1"], "Layers": ["a/layer.tar"]}],
    "s-no-tags": [{"Config": "c", "RepoTags": None, "Layers": []}],
    "s-object": {"Config": "c"},
    "s-no-config": [{"Layers": []}],
    "s-item-is-text": ["x"],
    "s-many-layers": [{"Config": "c", "Layers": ["l"] * 300}],
}

ARCHIVES = {
    "plain": tar_of(file("index.json", b"{}"), file("./blobs/sha256/x", b"x")),
    "docker-link": tar_of(file("abc.tar", b"layer"), symlink("a/layer.tar", "../abc.tar"),
                          file("manifest.json", b"[]"), form=tarfile.GNU_FORMAT),
    "link-loop": tar_of(symlink("manifest.json", "index.json"),
                        symlink("index.json", "manifest.json")),
    "link-out": tar_of(symlink("manifest.json", "../../../../../../etc/passwd")),
    "huge-size": raw("index.json", 1 << 60),
    "cut": tar_of(file("index.json", b"x" * 2000))[:1500],
    "bad-pax": raw("x", 512, tarfile.XHDTYPE) + b"99 path=index.json\n".ljust(512, b"\0") + END,
    "pax-size": raw("x", 22, tarfile.XHDTYPE) + b"22 size=9223372036854\n".ljust(512, b"\0") +
                raw("index.json") + END,
    "big-pax": raw("x", 65537, tarfile.XHDTYPE) + b"\0" * 66048,
    "long-name": tar_of(file("n" * 300), form=tarfile.GNU_FORMAT),
    "gzip": GZIP(BASE),
    "text": b"this is no tar at all" * 100,
    "empty": b"",
}


def save(target, name, data):
    path = os.path.join(HERE, "corpus", target)
    os.makedirs(path, exist_ok=True)
    oci.write(os.path.join(path, name), data)


def main():
    for name, layers in LAYERS.items():
        save("layer", name, b"".join(len(each).to_bytes(4, "little") + each for each in layers))
    for name, value in DOCUMENTS.items():
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        save("oci", name, name[0].encode() + text)
    for name, data in ARCHIVES.items():
        save("oci_archive", name, data)


if __name__ == "__main__":
    main()
