"""The extra: not imported unless it is used; where it is missing, the message says what to install."""

from __future__ import annotations

import pytest
from commands import assert_one_line, environment

from ringnb._support.children import run_python

HIDE = "import sys; sys.modules['distributed'] = None; "


def test_nothing_imports_the_engine_but_the_cluster():
    code = "import sys, ringnb, ringnb.session, ringnb.cli; print('distributed' in sys.modules)"
    assert run_python("-c", code, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    "code",
    [
        "import ringnb; ringnb.cluster",
        "from ringnb import cli; raise SystemExit(cli.main(['host', 'ls']))",
    ],
)
def test_where_it_is_missing_the_message_says_what_to_install(code):
    done = run_python("-c", HIDE + code, env=environment())
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("pip install 'ringnb[cluster]'")
    if "cli" in code:
        assert_one_line(done, 1)
