"""A JavaScript engine, for scripts that need no page."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["PAGE", "needs_node", "printed", "run_node"]

# What the scripts use of a page, and its clock.
PAGE = """
const VIEWS = {};
let ms = 1000, timers = [];
Object.defineProperty(globalThis, "performance", { value: { now: () => ms } });
globalThis.setTimeout = (call, wait) => {
  const timer = { at: ms + wait, call };
  timers.push(timer);
  return timer;
};
globalThis.clearTimeout = (timer) => { timers = timers.filter((one) => one !== timer); };
const pass = (time) => {
  for (const end = ms + time; ; ) {
    const next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
    if (!next) { ms = end; return; }
    clearTimeout(next);
    ms = Math.max(ms, next.at);
    next.call();
  }
};
const nodes = [];
const element = () => {
  const attributes = {}, calls = {}, node = {
    attributes, style: {}, classList: { add() {}, remove() {} }, append() {}, replaceChildren() {},
    setAttribute: (name, value) => { attributes[name] = value; },
    getAttribute: (name) => attributes[name] ?? null,
    removeAttribute: (name) => { delete attributes[name]; },
    addEventListener: (name, call) => { (calls[name] ??= []).push(call); },
    dispatch: (name) => { for (const call of calls[name] ?? []) call({}); },
    querySelector: () => ({ contains: () => false }), querySelectorAll: () => [],
  };
  nodes.push(node);
  return node;
};
globalThis.document = { activeElement: null, createElement: element, createElementNS: element };
const model = (values) => {
  const calls = {}, trigger = (event) => { for (const call of calls[event] ?? []) call(); };
  return {
    get: (name) => values[name], trigger, off() {},
    on: (event, call) => { (calls[event] ??= []).push(call); },
    put: (name, value) => { values[name] = value; trigger(`change:${name}`); },
  };
};
"""


def _node():
    """Return a JavaScript engine: one that is installed, or the one that Playwright brings."""
    if found := shutil.which("node"):
        return found
    package = find_spec("playwright")
    brought = Path(package.origin).parent / "driver" / "node" if package else None
    return str(brought) if brought is not None and brought.exists() else None


_NODE = _node()
needs_node = pytest.mark.skipif(_NODE is None, reason="there is no node, and no Playwright either")


def run_node(*arguments, script=""):
    """Give it a script; return what that prints."""
    done = subprocess.run(
        [_NODE, *arguments], input=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(script):
    """Return the value that a script prints as JSON."""
    return json.loads(run_node("-", script=script))
