#!/usr/bin/env python3
"""Images to measure with, made of the files of this machine's /usr and kept below out/bench for the next run.

The same machine makes the same image: which files are taken, and in what order they stand, depends on their names and
sizes alone. Another machine makes another one: figures of two machines do not compare anyway.

image        1.3 GB of tar in 50,000 entries (gzip -6), and over it whiteouts and 20,000 small files: what is timed
content-N    N GB in files of 1 MiB: memory must not grow with the content
files-N      N files of some bytes in directories of a hundred; names-N: all of them in one directory

usage: images.py CACHE image | content GIGABYTES | files COUNT | names COUNT      (prints the path of the OCI layout)

It is a program of its own because a process that is started counts its parent's memory among its own: who measures has
to be small.
"""
import hashlib, io, json, os, pathlib, random, shutil, stat, subprocess, sys, tarfile

RECIPE = 1  # raised when other images come of the same files: what was kept is made anew
ENTRIES, BYTES, SMALL_FILES = 50_000, 1_300_000_000, 20_000
LARGEST_FILE = 32 << 20
TIME = 1_700_000_000
MEBIBYTE = 1 << 20


class Layer:
    """A tar file on its way into a layout: hashed for the diffID, compressed, hashed again."""

    def __init__(self, layout, compressor):
        self.layout, self.path = layout, layout / "blobs/sha256/incoming"
        self.diff_id = hashlib.sha256()
        self.process = subprocess.Popen(compressor, stdin=subprocess.PIPE, stdout=open(self.path, "wb"))
        self.tar = tarfile.open(fileobj=self, mode="w|", format=tarfile.PAX_FORMAT, bufsize=MEBIBYTE)

    def write(self, data):
        self.diff_id.update(data)
        self.process.stdin.write(data)

    def add(self, name, data=b"", kind=tarfile.REGTYPE, mode=0o644, link=""):
        info = tarfile.TarInfo(name)
        info.size, info.type, info.mode, info.linkname, info.mtime = len(data), kind, mode, link, TIME
        self.tar.addfile(info, io.BytesIO(data))

    def finish(self):
        """Returns the descriptor and the diffID."""
        self.tar.close()
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise RuntimeError(f"{self.process.args} failed")
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self.path.stat().st_size
        self.path.rename(self.path.with_name(digest))
        descriptor = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": size,
                      "digest": f"sha256:{digest}"}
        return descriptor, f"sha256:{self.diff_id.hexdigest()}"


def finish_layout(layout, layers):
    def blob(document):
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        (layout / "blobs/sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    config = {"created": "2024-05-06T07:08:09Z", "architecture": "amd64", "os": "linux",
              "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
              "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(config)},
                "layers": [descriptor for descriptor, _ in layers]}
    index = {"schemaVersion": 2, "manifests": [{
        "mediaType": manifest["mediaType"], **blob(manifest),
        "platform": {"os": "linux", "architecture": "amd64"},
        "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps(index))


def made(cache, name, recipe, make):
    """The layout of an image, made unless the last run left it whole. `make` gives its layers."""
    directory, mark = cache / name, f"{RECIPE} {recipe}\n"
    whole = directory / "whole"
    if whole.exists() and whole.read_text() == mark:
        return directory / "oci"
    shutil.rmtree(directory, ignore_errors=True)
    layout = directory / "oci"
    (layout / "blobs/sha256").mkdir(parents=True)
    finish_layout(layout, make(layout))
    whole.write_text(mark)
    return layout


# The image that is timed.

def candidates():
    """Regular files of /usr as (path, size), shuffled by the hash of the path."""
    found = []
    for directory, directories, names in os.walk("/usr"):
        directories.sort()
        for name in names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_FILE and path.isprintable():
                found.append((path, status.st_size))
    return sorted(found, key=lambda file: hashlib.sha256(file[0].encode()).digest())


def selection(entries, size):
    """Some {name in the image: path here}: as many files as asked for, and then larger ones for the smallest of them
    until the bytes are enough. A machine with too few files gives each of them more than once."""
    found, chosen, directories, total = candidates(), {}, set(), 0
    for number in range(100):
        prefix = f"again{number}" if number else ""
        for path, length in found:
            if len(chosen) + len(directories) >= entries:
                break
            if total + length > size:
                continue
            name = prefix + path if prefix else path[1:]
            chosen[name] = (path, length)
            total += length
            parent = os.path.dirname(name)
            while parent and parent not in directories:
                directories.add(parent)
                parent = os.path.dirname(parent)
    if len(chosen) + len(directories) < entries:
        raise RuntimeError("/usr of this machine has too few files to make an image of")
    large = sorted((file for file in found if file[0][1:] not in chosen), key=lambda file: -file[1])
    small = sorted(chosen, key=lambda name: chosen[name][1])
    for (path, length), name in zip(large, small):
        gain = length - chosen[name][1]
        if total >= size or gain <= 0:
            break
        if total + gain <= size + LARGEST_FILE:
            chosen[name] = (path, length)
            total += gain
    return {name: path for name, (path, _) in chosen.items()}, directories


def base_layer(layout, files, directories):
    compressor = ["pigz", "-6", "-n"] if shutil.which("pigz") else ["gzip", "-6", "-n"]
    layer = Layer(layout, compressor)
    # By components, as every archiver walks: a directory stands before what is in it.
    for name in sorted([*files, *directories], key=lambda name: name.split("/")):
        if name in directories:
            layer.add(name, kind=tarfile.DIRTYPE, mode=0o755)
        else:
            with open(files[name], "rb") as file:
                layer.add(name, file.read(), mode=stat.S_IMODE(os.fstat(file.fileno()).st_mode))
    return layer.finish()


def upper_layer(layout, files):
    """Whiteouts of each hundredth file, and small files beside and above what is there."""
    layer = Layer(layout, ["gzip", "-6", "-n"])
    names = sorted(files, key=lambda name: name.split("/"))
    for name in names[::100]:
        directory, base = os.path.split(name)
        layer.add(f"{directory}/.wh.{base}")
    for name in names[50::100]:
        layer.add(name, b"replaced by the upper layer\n")
    randomness = random.Random(1)
    for number in range(SMALL_FILES):
        data = randomness.randbytes(120).hex().encode()
        layer.add(f"srv/small/{number // 200:03}/file-{number:05}", data)
    return layer.finish()


def image(cache):
    def make(layout):
        files, directories = selection(ENTRIES, BYTES)
        return [base_layer(layout, files, directories), upper_layer(layout, files)]
    return made(cache, "image", f"{ENTRIES} {BYTES} {SMALL_FILES} {LARGEST_FILE}", make)


# The images that show how seconds and memory grow.

def content(cache, gigabytes):
    def make(layout):
        pool = bytearray()
        for path, _ in candidates():
            with open(path, "rb") as file:
                pool += file.read()
            if len(pool) > 128 * MEBIBYTE:
                break
        randomness = random.Random(gigabytes)
        layer = Layer(layout, ["igzip", "-1", "-c"])
        for number in range(gigabytes * 1_000_000_000 // MEBIBYTE):
            start = randomness.randrange(len(pool) - MEBIBYTE)
            layer.add(f"content/{number // 100:03}/file-{number:05}", pool[start:start + MEBIBYTE])
        return [layer.finish()]
    return made(cache, f"content-{gigabytes}", "content", make)


def many(cache, count, in_one_directory):
    def make(layout):
        layer = Layer(layout, ["igzip", "-1", "-c"])
        for number in range(count):
            directory = "many" if in_one_directory else f"many/{number // 10_000:02}/{number // 100 % 100:02}"
            layer.add(f"{directory}/file-{number:06}", b"%d\n" % number)
        return [layer.finish()]
    return made(cache, f"{'names' if in_one_directory else 'files'}-{count}", "many", make)


def main():
    cache = pathlib.Path(sys.argv[1])
    kind, *details = sys.argv[2:]
    if kind == "image":
        layout = image(cache)
    elif kind == "content":
        layout = content(cache, int(details[0]))
    elif kind in ("files", "names"):
        layout = many(cache, int(details[0]), kind == "names")
    else:
        sys.exit(f"images: {kind} is no kind of image")
    print(layout)


if __name__ == "__main__":
    main()
