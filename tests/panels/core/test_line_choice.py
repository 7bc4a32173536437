"""What the message line says of what there is."""

from __future__ import annotations

from pathlib import Path

from javascript import PAGE, needs_node, printed

from ringnb.panels import core

STATIC = Path(core.__file__).parent / "static"
SCRIPTS = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("common.js", "say.js"))
SCRIPT = """
const undo = [["moment.undo", "Undo", {}]];
const now = Date.now() / 1000;
const at = (age, more) => ({ key: String(age), at: now - age, actions: [], count: 1, ...more });
const old = at(60, { open: true, byItself: true }), fresh = at(1, { open: true, byItself: true });
const said = (...messages) => choose(model({ messages }), false, new Set()).key;
const beside = (note, ...messages) => {
  const board = model({ messages });
  board.rnNote = at(note, { key: "here" });
  return choose(board, false, new Set());
};
console.log(JSON.stringify([
  said(old, at(2)), said(old, at(9)),
  said(old, at(9, { actions: undo })), said(old, at(25, { actions: undo })),
  said(at(2), fresh), said(at(9, { actions: undo }), fresh),
  said(at(2), { ...fresh, count: 3 }),
  beside(3, at(5), at(1, { byItself: true })).key, beside(3, at(2), at(1, { byItself: true })).key,
  beside(1, { ...old, actions: undo }), beside(1, at(9, { actions: undo })),
  beside(1, { ...old, actions: [...undo, ["say.dismiss", "Keep it", {}]] }),
].map((one) => one.actions?.length ?? one)));
"""

SAID = """
const undo = [["moment.undo", "Undo", {}]];
const next = { words: "the first checkpoint is due", counts: true, none: true };
const board = model({ next, due_at: 30, beat: 10 });
const line = (m) => {
  const { kind, actions, text, shown } = asSaid(board, m);
  return [kind, actions.length, shown ?? text];
};
const note = { key: "first", kind: "note", actions: [], text: "as it was said" };
const full = { key: "disk-full", kind: "problem", actions: undo, text: "No space left" };
const lines = [line(note), line(full), line({ ...full, settled: "c_0_step_9" })];
pass(10000);
lines.push(line(note));
board.put("next", { words: "next", counts: true, none: false });
lines.push(line(note));
console.log(JSON.stringify(lines));
"""


@needs_node
def test_an_undo_stays_longer_than_a_word_and_a_problem_that_is_new_waits_for_neither():
    assert printed(PAGE + SCRIPTS + SCRIPT) == [
        "2",
        "60",
        "9",
        "60",
        "1",
        "1",
        "2",
        "here",
        "2",
        1,
        1,
        0,
    ]


@needs_node
def test_what_is_settled_looks_it_and_the_first_checkpoint_is_counted_down():
    assert printed(PAGE + SCRIPTS + SAID) == [
        ["note", 0, "Nothing is stored yet: the first checkpoint is due in 20 s"],
        ["problem", 1, "No space left"],
        ["done", 0, "Settled by c_0_step_9: No space left"],
        ["note", 0, "Nothing is stored yet: the first checkpoint is due in 10 s"],
        ["note", 0, "as it was said"],
    ]
