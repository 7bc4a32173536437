"""What all tests share: which of them run, and the process that they run in.

``python -m pytest`` leaves out what is slow or needs a browser or a GPU (`addopts` in pyproject.toml);
``python -m pytest --all`` runs everything but the GPU's tests, and draws more random examples.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

import hypothesis
import in_parallel
import numba
import pytest

os.environ.setdefault("MPLBACKEND", "Agg")

gc.disable()  # until the tests are collected

# Images set it, and then each of hundreds of processes compiles the package, and pytest all tests anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A job in the background of a shell ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests with random examples choose no number of their own, except as a multiple of the profile's.
hypothesis.settings.register_profile("fast", max_examples=20, deadline=None)
hypothesis.settings.register_profile("full", max_examples=60, deadline=None)


def pytest_addoption(parser):
    parser.addoption(
        "--all", action="store_true", help="the slow tests and the browser's too, more examples"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Choose the tests, the number of random examples, and which `numba.cuda` this process has.

    Numba decides that at the first import of numba.cuda, for the whole process: the GPU's own is for
    ``pytest -m gpu`` alone, the simulator for all else. What needs the other one starts a process.
    """
    if config.option.all:
        config.option.markexpr = "not part"
    hypothesis.settings.load_profile("full" if config.option.all else "fast")
    numba.config.ENABLE_CUDASIM = int(config.option.markexpr.strip() != "gpu")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run all tests in several processes."""
    in_parallel.set_up(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Put the tests in the order in which several processes run them."""
    in_parallel.begin_with_unhurried(config, items)


def pytest_collection_finish():
    """Spare every collection of garbage what the tests' modules hold: a third of a second each."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_report_header(config):
    """Say what is run, how long that takes, and how to run the rest."""
    if config.option.all:
        which, rest = "all tests but those for a GPU", ""
    elif "not slow" in config.option.markexpr:
        which, rest = "the fast tests", "; with --all the slow ones, too, and those in a browser"
    else:
        return None
    minutes = 15 if config.option.all else 2
    how_long = "" if config.option.file_or_dir else f", about {minutes} minutes on two idle cores"
    return f"ringnb: {which}{how_long}{rest}"


@pytest.fixture(scope="session")
def stand_in_card(tmp_path_factory):
    """Build the card in software, once, as it keeps what it assembles: its place and environment."""
    from standin import card

    directory = tmp_path_factory.mktemp("standin")
    return directory, card.built(directory)


@pytest.fixture(scope="session")
def s3():
    """Start a real HTTP server that speaks S3, on loopback."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        client = boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT_URL"])
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()
