"""Builds the stand-in card, and runs a command that finds it in a GPU's place.

``python tests/standin/card.py COMMAND...``: for example ``python -m pytest -m gpu``. With ``--weak``
first, the card's memory is as weak as PTX allows. Needs Linux, a C compiler, and the packages of the
extra ``test``.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
WEAK = "-DWEAK"


def header() -> Path | None:
    """Return the driver's header of the package nvidia-cuda-runtime, or None."""
    try:
        files = importlib.metadata.files("nvidia-cuda-runtime") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(f.locate()) for f in files if f.name == "cuda.h"), None)


def missing() -> str | None:
    """Say what keeps the card from being built here, or None."""
    if sys.platform != "linux":
        return "needs Linux"
    if shutil.which("cc") is None:
        return "needs a C compiler, cc"
    return None if header() else "needs the package nvidia-cuda-runtime"


def built(directory: Path) -> dict[str, str]:
    """Build driver and device, and return the environment of a process that has them.

    Parameters
    ----------
    directory : Path
        Where to; it is the only one that is written to.

    Returns
    -------
    dict of str to str
        The variables of this process and those of the stand-in; the log is ``log`` in the directory.
    """
    found = header()
    assert found is not None
    driver, device = directory / "libcuda.so.1", directory / "device"
    common = ["-O1", "-fvisibility=hidden", f"-I{found.parent}", HERE / "machine.c"]
    libraries = ["-ldl", "-lpthread", "-lm"]
    for arguments in (
        [
            "-shared",
            "-fPIC",
            "-o",
            driver,
            HERE / "driver.c",
            HERE / "engine.c",
            *common,
            *libraries,
        ],
        ["-DDEVICE", "-rdynamic", "-o", device, *common, *libraries],
    ):
        subprocess.run([shutil.which("cc"), *arguments], check=True)
    (directory / "log").touch()
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(directory),
        # Of sitecustomize.py, and of the ringnb that is tested, installed or not.
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        "STANDIN_CACHE": str(directory),
        "STANDIN_DEVICE": str(device),
        "STANDIN_LOG": str(directory / "log"),
        # It is so many times slower: for .ci/gpu.
        "RINGNB_STAGE_TIMES": os.environ.get("RINGNB_STAGE_TIMES", "20"),
    }
    for name in ("CUDA_LAUNCH_BLOCKING", "NUMBA_ENABLE_CUDASIM"):
        environment.pop(name, None)
    return environment


def main() -> int:
    """Build, run, and show what of the log matters."""
    weak, *command = (sys.argv[1] == "--weak", *sys.argv[1:])
    if why := missing():
        print(f"the stand-in card {why}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        environment = built(Path(scratch))
        if weak:
            environment["STANDIN_FLAGS"] = WEAK
        status = subprocess.run(command[weak:], env=environment, check=False).returncode
        for line in Path(scratch, "log").read_text().splitlines():
            if "waits: " in line or "missing here" in line or "fault" in line:
                print(f"stand-in card: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
