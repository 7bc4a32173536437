"""The dials' script without a page: what was set stays until the kernel has heard it."""

from __future__ import annotations

from pathlib import Path

from javascript import PAGE, needs_node, printed

from ringnb.panels import core, stage

COMMON = Path(core.__file__).parent / "static" / "common.js"
DIALS = Path(stage.__file__).parent / "static" / "dials.js"

# A change is set that the actor takes, and one that it refuses; the kernel hears each after a minute.
BUSY = """
const sent = [], seen = [];
const board = model({ flags: {}, actor: {}, acknowledged: [] });
const hand = { send: (message) => sent.push(message) };
const row = (value, there) => [{ name: "speed", value, low: 0, high: 10, there }];
const dials = model({
  dials: row(1, null), pace: 0, amplitude: 1, looks_back: false, board, hand, picture: null,
});
VIEWS.dials({ model: dials, el: element() }).then(() => {
  const named = (name) => nodes.findLast(({ attributes }) => attributes["aria-label"] === name);
  const range = named("speed"), number = named("speed, number");
  const see = () => seen.push(`${number.value} ${range.value}`);
  const set = (value) => { number.value = value; number.dispatch("change"); };
  const hear = () => board.put("acknowledged", sent.map(({ id }) => id));
  see();
  set("4");
  pass(60000);
  see();
  dials.put("dials", row(1, 2)); // of something else
  pass(60000);
  see();
  hear();
  dials.put("dials", row(1, 3)); // from before it was taken
  see();
  pass(100);
  dials.put("dials", row(4, 3));
  pass(10000);
  see();
  set("5");
  pass(60000);
  see();
  hear();
  pass(10000); // nothing comes: it was refused
  see();
  dials.put("dials", row(6, 3)); // by a cell
  see();
  document.activeElement = number; // Enter leaves the focus where it is
  set("7");
  pass(1000);
  hear();
  pass(10000); // it was refused
  see();
  number.value = "8"; // not entered yet
  dials.put("dials", row(9, 3));
  pass(10000);
  see();
  number.value = "7"; // entered before, and not again yet
  number.dispatch("input");
  dials.put("dials", row(8, 3));
  see();
  console.log(JSON.stringify([seen, sent.map(({ values }) => values.speed), timers.length]));
});
"""


@needs_node
def test_a_dial_goes_back_only_after_a_busy_kernel_has_heard_what_was_set():
    scripts = [path.read_text(encoding="utf-8") for path in (COMMON, DIALS)]
    seen, sent, timers = printed("\n".join([PAGE, *scripts, BUSY]))
    assert seen == ["1 1", "4 4", "4 4", "4 4", "4 4", "5 5", "4 4", "6 6", "6 6", "8 9", "7 8"]
    assert (sent, timers) == ([4, 5, 7], 0)
