"""What is measured: the helper in its forms, and beside it what others have for the same work."""
import dataclasses, json, os, pathlib, shutil


@dataclasses.dataclass
class Contender:
    name: str
    command: list
    environment: dict | None = None
    is_slow: bool = False  # so slow that it runs once in three rounds, and is not warmed up


def pull(binaries, image, output, *options):
    return [binaries / "snapshot", "pull", image, "--output", output, "--progress", "none", *options]


def pipeline(work, reference, layers, hasher):
    """Of the layers what nobody can leave out, all at once: fetched, hashed, inflated, hashed, one file written for
    each. The digests are compared, so that it fails when it did not do its work. `hasher` reads its standard input and
    prints the digest as sha256sum does."""
    host, name = reference.rsplit(":", 1)[0].split("/", 1)
    lines = [f"set -e; rm -rf {work}/pipeline; mkdir {work}/pipeline; cd {work}/pipeline"]
    check = []
    for number, layer in enumerate(layers):
        url = f"http://{host}/v2/{name}/blobs/{layer['digest']}"
        lines.append(
            f"mkfifo c{number} d{number}; {hasher} < c{number} > c{number}.sum & {hasher} < d{number} > d{number}.sum & "
            f"curl -sSf {url} | tee c{number} | igzip -dc | tee d{number} > layer{number} &")
        for sum, digest in (("c", layer["digest"]), ("d", layer["diffID"])):
            check.append(f"grep -q '^{digest.removeprefix('sha256:')} ' {sum}{number}.sum")
    return ["/bin/sh", "-c", "\n".join([*lines, "wait", *check])]


def todays_tools(work, reference):
    return ["/bin/sh", "-c", f"""set -e; rm -rf {work}/glue; mkdir {work}/glue; cd {work}/glue
        skopeo --insecure-policy copy -q --src-tls-verify=false docker://{reference} oci:copy:latest
        umoci unpack --image copy:latest bundle >/dev/null
        truncate -s $(( $(du -sm bundle/rootfs | cut -f1) * 3 / 2 + 64 ))M root.ext4
        mke2fs -q -t ext4 -d bundle/rootfs root.ext4 && sha256sum root.ext4"""]


def layers(layout):
    """The layers of the image in a layout, lowest first: their descriptors with diffID and path."""
    def document(descriptor):
        return json.loads(path(descriptor).read_text())

    def path(descriptor):
        return layout / "blobs" / descriptor["digest"].replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    manifest = document(index["manifests"][0])
    diff_ids = document(manifest["config"])["rootfs"]["diff_ids"]
    return [{**layer, "diffID": diff_id, "path": path(layer)}
            for layer, diff_id in zip(manifest["layers"], diff_ids)]


def contenders(binaries, work, layout, reference, layers):
    """In the order of the table. `work/layer.tar` is the largest layer inflated."""
    output = work / "out.ext4"
    local = f"oci:{layout}:latest"
    found = [
        Contender("pull, registry", pull(binaries, reference, output)),
        Contender("pull, layout", pull(binaries, local, output)),
        Contender("pull, zlib", pull(binaries, reference, output, "--gzip", "zlib")),
        Contender("pull, 1 thread", pull(binaries, reference, output, "--threads", "1")),
    ]
    if (binaries / "snapwf").exists():
        environment = dict(os.environ, SNAPWF_HOME=str(work / "home"))
        found.append(Contender(
            "snapwf run", [binaries / "snapwf", "run", "-q", "--force", reference], environment))
    else:
        print(f"snapwf run is left out: there is no {binaries / 'snapwf'}")
    gzip_layers = [layer for layer in layers if layer["mediaType"].endswith("gzip")]
    if len(gzip_layers) == len(layers):
        found.append(Contender("pipeline", pipeline(work, reference, layers, "sha256sum")))
        found.append(Contender("pipeline, openssl", pipeline(work, reference, layers, "openssl dgst -sha256 -r")))
    else:
        print("the pipeline is left out: it knows gzip layers only")
    if gzip_layers:
        largest = max(gzip_layers, key=lambda layer: layer["size"])
        found.append(Contender("igzip -dc", ["/bin/sh", "-c", f"igzip -dc < {largest['path']} > /dev/null"]))
        found.append(Contender("sha256sum of tar", ["sha256sum", work / "layer.tar"]))
        found.append(Contender("openssl of tar", ["openssl", "dgst", "-sha256", work / "layer.tar"]))
    found.append(Contender("today's tools", todays_tools(work, reference), is_slow=True))
    return found


def clear(work):
    """Removes what a run left, so that the next one neither overwrites nor waits for it."""
    for directory in ("home", "pipeline", "glue"):
        shutil.rmtree(work / directory, ignore_errors=True)
    for file in ("out.ext4", "out.ext4.json"):
        pathlib.Path(work / file).unlink(missing_ok=True)
