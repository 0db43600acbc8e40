# SPDX-License-Identifier: Apache-2.0
"""Makes OCI images by hand, and describes file systems for comparison.

    image = Image()
    image.layer(tar_of(file("etc/hostname", b"web\n"), whiteout("tmp/old")))
    image.save(folder, tag="latest")
"""

import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import zlib

TIME = 1700000000
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
TAR_LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def entry(path, kind=tarfile.REGTYPE, data=b"", mode=0o644, target="", device=(0, 0), **more):
    """Make an entry of a layer: (header, contents)."""
    info = tarfile.TarInfo(path)
    info.type = kind
    info.mode = mode
    info.size = len(data)
    info.linkname = target
    info.devmajor, info.devminor = device
    info.mtime = TIME
    for name, value in more.items():
        setattr(info, name, value)
    return info, data


def file(path, data=b"", **more):
    return entry(path, data=data, **more)


def folder(path, mode=0o755, **more):
    return entry(path, tarfile.DIRTYPE, mode=mode, **more)


def symlink(path, target, **more):
    return entry(path, tarfile.SYMTYPE, target=target, mode=0o777, **more)


def hard_link(path, target, **more):
    return entry(path, tarfile.LNKTYPE, target=target, **more)


def whiteout(path):
    head, name = os.path.split(path)
    return file(os.path.join(head, ".wh." + name))


def opaque(path):
    return file(os.path.join(path, ".wh..wh..opq"))


def xattrs(**values):
    """Attributes for entry(pax_headers=...), with '__' for '.' in their names."""
    return {"SCHILY.xattr." + key.replace("__", "."): value for key, value in values.items()}


def tar_of(*entries, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def xz(data, dictionary):
    """Compress with xz, with a header that needs a dictionary of this size: 28 is 64 MiB, 30 is 128 MiB,
    31 is 192 MiB, 40 is 4 GiB."""
    packed = bytearray(lzma.compress(data, preset=0))
    assert packed[12:16] == b"\2\0\x21\1" # a block whose one filter is LZMA2
    packed[16] = dictionary
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    return bytes(packed)


def lzma_alone(data, dictionary_bytes):
    packed = bytearray(lzma.compress(data, lzma.FORMAT_ALONE, preset=0))
    packed[1:5] = dictionary_bytes.to_bytes(4, "little")
    return bytes(packed)


PACK = {"": lambda data: data, "+gzip": lambda data: gzip.compress(data, mtime=0), "+zstd": zstd}


class Image:
    """One image for one platform."""

    def __init__(self, arch=ARCH, system="linux", **config):
        self.blobs = {}
        self.layers = []
        self.config = {"architecture": arch, "os": system, "config": config,
                       "rootfs": {"type": "layers", "diff_ids": []}}

    def blob(self, data, media_type):
        name = digest(data)
        self.blobs[name] = data
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def layer(self, tar, packed="+gzip", diff_id=None):
        self.layers.append(self.blob(PACK[packed](tar), TAR_LAYER + packed))
        self.config["rootfs"]["diff_ids"].append(diff_id or digest(tar))
        return self

    def manifest(self):
        """Write the manifest; returns its descriptor."""
        config = self.blob(json.dumps(self.config).encode(),
                           "application/vnd.oci.image.config.v1+json")
        return self.blob(json.dumps({"schemaVersion": 2, "config": config,
                                     "layers": self.layers}).encode(),
                         "application/vnd.oci.image.manifest.v1+json")

    def save(self, path, tag="latest"):
        descriptor = self.manifest()
        if tag:
            descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
        save_layout(path, [descriptor], self.blobs)
        return descriptor


def save_layout(path, manifests, blobs):
    os.makedirs(os.path.join(path, "blobs", "sha256"), exist_ok=True)
    write(os.path.join(path, "oci-layout"), b'{"imageLayoutVersion": "1.0.0"}')
    write(os.path.join(path, "index.json"),
          json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
    for name, data in blobs.items():
        write(os.path.join(path, "blobs", *name.split(":")), data)


def write(path, data):
    with open(path, "wb") as out:
        out.write(data)


def digest_of_file(path):
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def describe(root):
    """{path: all its attributes} of a folder that nobody writes to."""
    found, inodes = {}, {}
    paths = [os.fsencode(root)]
    while paths:
        path = paths.pop()
        info = os.lstat(path)
        name = os.path.relpath(path, os.fsencode(root)).decode("utf-8", "backslashreplace")
        kind = stat.S_IFMT(info.st_mode)
        what = {
            "type": stat.filemode(info.st_mode)[0],
            "mode": oct(stat.S_IMODE(info.st_mode)),
            "owner": (info.st_uid, info.st_gid),
            "mtime": int(info.st_mtime),
            "xattrs": {key: os.getxattr(path, key, follow_symlinks=False)
                       for key in os.listxattr(path, follow_symlinks=False)},
        }
        if kind == stat.S_IFREG:
            what["size"] = info.st_size
            what["sha256"] = digest_of_file(path)
        elif kind == stat.S_IFLNK:
            what["target"] = os.readlink(path)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            what["device"] = (os.major(info.st_rdev), os.minor(info.st_rdev))
        if kind != stat.S_IFDIR:
            inodes.setdefault(info.st_ino, []).append(name)
        else:
            paths += [os.path.join(path, child) for child in os.listdir(path)]
        if name != "lost+found": # every ext4 has it
            found[name] = what
    for names in inodes.values():
        for name in names:
            found[name]["names"] = sorted(names)
    return found


def describe_image(image, scratch):
    """Describe the files of an ext4 image.  Without the right to mount it, this describes debugfs' copy,
    which lacks many attributes."""
    mount = os.path.join(scratch, "mount")
    os.makedirs(mount)
    try:
        options = ["-o", "ro,loop,noload"]
        if subprocess.run(["mount", *options, image, mount], capture_output=True,
                          check=False).returncode == 0:
            try:
                return describe(mount)
            finally:
                subprocess.run(["umount", mount], check=True)
        subprocess.run(["debugfs", "-R", f"rdump / {mount}", image], capture_output=True,
                       check=True)
        found = describe(mount)
        for what in found.values():
            what["incomplete"] = True
        return found
    finally:
        shutil.rmtree(mount)


INCOMPLETE = ("xattrs", "names", "device", "mode", "mtime", "incomplete") # attributes that this copy lacks


def differences(ours, theirs):
    """A line for each path that differs; of a missing path only the name."""
    lines = []
    if any(what.get("incomplete") for what in ours.values()):
        theirs = {path: what for path, what in theirs.items() if what["type"] in "-dl"}
        ours, theirs = ({path: {key: value for key, value in what.items() if key not in INCOMPLETE}
                         for path, what in side.items()} for side in (ours, theirs))
    for path in sorted(ours.keys() | theirs.keys()):
        if path not in ours or path not in theirs:
            lines.append(f"{path}: only {'theirs' if path in theirs else 'ours'}")
            continue
        for key in sorted(ours[path].keys() | theirs[path].keys()):
            mine, other = ours[path].get(key), theirs[path].get(key)
            if mine != other:
                lines.append(f"{path}: {key}: ours {mine}, theirs {other}")
    return lines


def why_no_unpacking():
    """None if umoci can set files' owners here, else the reason."""
    return "only root can give files to others" if os.geteuid() != 0 else None
