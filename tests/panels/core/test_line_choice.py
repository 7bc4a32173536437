"""What the message line says of what there is."""

from __future__ import annotations

from pathlib import Path

from javascript import PAGE, needs_node, printed

from ringnb.panels import core

STATIC = Path(core.__file__).parent / "static"
SCRIPT = """
const undo = [["moment.undo", "Undo", {}]];
const now = Date.now() / 1000;
const at = (age, more) => ({ key: String(age), at: now - age, actions: [], count: 1, ...more });
const old = at(60, { open: true, byItself: true }), fresh = at(1, { open: true, byItself: true });
const said = (...messages) => choose(model({ messages }), false, new Set()).key;
console.log(JSON.stringify([
  said(old, at(2)), said(old, at(9)),
  said(old, at(9, { actions: undo })), said(old, at(25, { actions: undo })),
  said(at(2), fresh), said(at(9, { actions: undo }), fresh),
  said(at(2), { ...fresh, count: 3 }),
]));
"""


@needs_node
def test_an_undo_stays_longer_than_a_word_and_a_problem_that_is_new_waits_for_neither():
    scripts = [(STATIC / name).read_text(encoding="utf-8") for name in ("common.js", "say.js")]
    assert printed("".join([PAGE, *scripts, SCRIPT])) == ["2", "60", "9", "60", "1", "1", "2"]
