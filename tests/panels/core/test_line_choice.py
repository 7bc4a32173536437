"""What the message line says of what there is."""

from __future__ import annotations

from pathlib import Path

from javascript import PAGE, needs_node, printed

from ringnb.panels import core

STATIC = Path(core.__file__).parent / "static"
SCRIPTS = "".join(
    (STATIC / name).read_text(encoding="utf-8") for name in ("common.js", "say.js", "keys.js")
)
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
  beside(1, at(9, { actions: undo, settled: "the restore" })),
].map((one) => one.actions?.length ?? one)));
"""

SAID = """
const undo = [["moment.undo", "Undo", {}]];
const next_checkpoint = { words: "the first checkpoint is due", counts: true, none: true };
const board = model({ next_checkpoint, due_at: 30, beat: 10 });
const line = (m) => {
  const { kind, actions, text, shown } = asSaid(board, m);
  return [kind, actions.length, shown ?? text];
};
const note = { key: "first", kind: "note", actions: [], text: "as it was said" };
const full = { key: "disk-full", kind: "problem", actions: undo, text: "No space left" };
const lines = [line(note), line(full), line({ ...full, settled: "c_0_step_9" })];
pass(10000);
lines.push(line(note));
board.put("next_checkpoint", { words: "next", counts: true, none: false });
lines.push(line(note));
console.log(JSON.stringify(lines));
"""

# A problem that is tried again; what has covered it and the problem once more; the same after it was
# settled; and what is never spoken.
SPOKEN = """
const board = model({}), said = (board.rnSaid = new Set()), known = [];
const speak = (m) => {
  known.push(isKnown(board, m));
  said.add(spokenAs(m));
};
const away = { key: "store", kind: "problem", text: "away", again: 3, count: 1, at: 5, since: 5 };
speak(away);
speak({ key: "1", kind: "note", text: "other", count: 1, at: 6, since: 6 });
speak({ ...away, again: 9, count: 2, at: 7 });
speak({ ...away, at: 20, since: 20 });
speak({ key: "nothing", kind: "note", text: "Nothing happened yet", count: 1 });
const asked = { key: "ask", kind: "warning", text: "Delete it?", count: 1, at: 8, since: 8 };
speak(asked);
board.rnRead = "ask 9";
speak({ ...asked, at: 9 });
speak({ ...asked, at: 10 });
// What a page speaks is one message in two seconds.
const region = {}, waits = [untilQuiet(board)];
speakIn(region, board, "words");
for (const time of [0, 1499, 1, 500]) {
  pass(time);
  waits.push([untilQuiet(board), region.textContent]);
}
console.log(JSON.stringify([known, waits]));
"""

# Which box Escape closes, and which panel's picture it may shrink.
ESCAPE = """
const shut = [], boxes = {}, globals = { CustomEvent: class {} };
Object.assign(globalThis, globals);
const box = (name, what) => (boxes[name] = {
  checkVisibility: () => true, contains: (node) => node === name, matches: (one) => one === what,
  dispatchEvent: () => shut.push(name),
});
const root = {
  querySelectorAll: () => [box("all actors", ".rn-actors"), box("history", ".rn-log")],
};
escapeFrom(root, null);
document.activeElement = "all actors";
escapeFrom(root, null);
let heard = null;
root.querySelectorAll = () => [];
root.closest = () => null;
escapeFrom(root, { trigger: (name, event) => { heard = event; } });
console.log(JSON.stringify([shut, heard.root === root]));
"""


@needs_node
def test_a_message_is_spoken_once_however_often_the_line_comes_back_to_it():
    known, waits = printed(PAGE + SCRIPTS + SPOKEN)
    assert known == [False, False, True, False, True, False, True, False]
    assert waits == [0, [2000, "words"], [501, "words"], [500, ""], [0, ""]]


@needs_node
def test_escape_closes_what_lies_on_top_and_concerns_no_other_panel():
    assert printed(PAGE + SCRIPTS + ESCAPE) == [["history", "all actors"], True]


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
        0,
    ]


@needs_node
def test_what_is_settled_looks_it_and_the_first_checkpoint_is_counted_down():
    assert printed(PAGE + SCRIPTS + SAID) == [
        ["note", 0, "Nothing is stored yet: the first checkpoint is due in 20 s"],
        ["problem", 1, "No space left"],
        ["done", 0, "It is over (c_0_step_9): No space left"],
        ["note", 0, "Nothing is stored yet: the first checkpoint is due in 10 s"],
        ["note", 0, "as it was said"],
    ]
