"""The deck's script without a page: what the kernel is told of the playhead, and when."""

from __future__ import annotations

from pathlib import Path

from javascript import PAGE, needs_node, printed

from ringnb.panels import core, deck, stage

_SCRIPTS = [
    (Path(package.__file__).parent / "static" / name).read_text(encoding="utf-8")
    for package, names in (
        (core, ("common.js", "film.js")),
        (deck, ("line.js", "drawing.js", "transport.js", "deck.js")),
    )
    for name in names
]
_STAGE = (Path(stage.__file__).parent / "static" / "stage.js").read_text(encoding="utf-8")

# One run with checkpoints at steps 10 to 30, where a drag tells a place a second, as on Binder.
# Nothing is drawn; `told` is what was sent, in one line each.
DECK = f"""
const tellItCame = (() => {{ {_STAGE}; return tellItCame; }})();
globalThis.ResizeObserver = class {{ observe() {{}} disconnect() {{}} }};
globalThis.requestAnimationFrame = () => 0;
let every;
globalThis.setInterval = (_, ms) => {{ every = ms; return 1; }};
globalThis.cancelAnimationFrame = globalThis.clearInterval = onThemeChange = () => {{}};
let act;
const drawn = {{ node: () => null, dragged: () => false }};
const any = new Proxy(drawn, {{ get: (own, name) => own[name] ?? (() => {{}}) }});
makeTransport = (root, board, actions) => {{ act = actions; return any; }};
makeDrawing = () => any;
const steps = [10, 20, 30], add = new DataView(new ArrayBuffer(MARK_BYTES * steps.length));
steps.forEach((step, i) => {{
  add.setUint32(MARK_BYTES * i, i + 1, true);
  add.setFloat64(MARK_BYTES * i + 4, step, true);
  add.setUint16(MARK_BYTES * i + 12, 1, true);
}});
const lane = {{ n: 1, run: "a", parent: null, fork: null, first: 0, last: 100, live: true }};
const playhead = {{ run: "a", lane: 1, step: 30, name: "c", follows: true }};
const board = model({{
  flags: {{}}, actor: {{ slot: 0 }}, life: "running", acknowledged: [], playhead,
}});
const told = [];
const hand = {{ send: ({{ do: what, step, passes, came, name }}) => told.push(
  [what, step, passes && "passes", came && `came ${{came}}`, name].filter(Boolean).join(" ")) }};
const model_ = model({{
  board, hand, marks: {{ v: 1, from: 0, add, gone: [] }}, lanes: [lane], film: {{}}, actors: {{}},
  drag_ms: 1000, slot: 0, shown: {{ key: 3, name: "c" }},
}});
const came = (n) => tellItCame({{ board, hand }}, model({{ info: {{ n }} }}));
"""


def told(script):
    """Return what was told, by a script that calls the actions of a deck; `then` are another's."""
    run = f"""(async () => {{
  await VIEWS.deck({{ model: model_, el: element() }});
  const first = act;
  await VIEWS.deck({{ model: model_, el: element() }});
  const then = act;
  act = first;
  {script}
  console.log(JSON.stringify(told));
}})();"""
    return printed("\n".join([PAGE, *_SCRIPTS, DECK, run]))


@needs_node
def test_what_is_sent_acts_on_the_step_that_is_shown():
    pressed = "act.moveTo(10); pass(100); act.moveTo(20); act.ask('moment.restore'); pass(5000);"
    assert told(pressed) == ["look.to 10", "look.to 20", "moment.restore"]


@needs_node
def test_what_is_done_from_the_playhead_names_the_checkpoint_that_is_shown_there():
    ask = "act.ask('moment.restore', act.here());"
    assert told(ask) == ["moment.restore c"]
    # Where the page does not know yet what shows it, the kernel is told of the step first.
    assert told(f"act.moveTo(10); {ask}") == ["look.to 10", "moment.restore"]
    back = "board.put('acknowledged', []); act.toNewest();"
    assert told(f"{back} {ask}") == ["look.newest", "moment.restore"]


@needs_node
def test_where_it_rests_is_told_at_once_though_it_was_moved_a_moment_before():
    assert told("act.moveTo(10); pass(100); act.moveTo(20); pass(150);") == [
        "look.to 10",
        "look.to 20",
    ]


@needs_node
def test_what_a_drag_passes_over_is_told_once_a_second_with_the_picture_that_came():
    drag = "act.moveTo(10 + i); pass(50); if (i % 18 === 0) came(i);"
    assert told(f"for (let i = 1; i <= 50; i++) {{ {drag} }} pass(5000);") == [
        "look.to 11",
        "look.to 30 passes came 18",
        "look.to 50 passes came 36",
        "look.to 60",
    ]


@needs_node
def test_while_the_pointer_is_down_a_picture_that_came_waits_for_the_next_place():
    down = "board.rnDragged = true; came(7); pass(300);"
    up = "board.rnDragged = false; act.release(); act.release();"
    assert told(f"{down} act.moveTo(10); pass(5000);") == ["look.to 10 came 7"]
    assert told(f"{down} {up} pass(5000);") == ["stage.came came 7"]


@needs_node
def test_where_a_pointer_that_is_down_rests_is_told_once_a_second_and_at_last_when_it_is_up():
    down = "board.rnDragged = true; act.moveTo(10); pass(10); act.moveTo(20); pass(500);"
    last = "act.moveTo(30); pass(1000); act.moveTo(50); pass(200);"
    up = "board.rnDragged = false; act.release(); pass(5000);"
    assert told(down) == ["look.to 10"]
    assert told(f"{down} {up}") == ["look.to 10", "look.to 20"]
    assert told(f"{down} {last} {up}") == ["look.to 10", "look.to 30", "look.to 50"]


@needs_node
def test_back_at_the_newest_a_picture_that_came_is_told_and_nothing_later():
    assert told("act.moveTo(10); act.moveTo(20); came(7); act.toNewest(); pass(5000);") == [
        "look.to 10",
        "stage.came came 7",
        "look.newest",
    ]


@needs_node
def test_of_a_mark_that_is_not_there_it_is_said_and_nothing_is_told():
    said = "told.push(board.rnNote?.text ?? '');"
    assert told(f"act.pressMark(-1); pass(5000); {said} act.pressMark(1); pass(5000); {said}") == [
        "look.to 20",
        "",
        "look.to 30",
        "",
    ]
    none = "Later mark: there is none after this"
    assert told(f"act.pressMark(1); pass(5000); {said}") == [none]


@needs_node
def test_of_several_of_a_step_what_was_chosen_stays_until_the_kernel_shows_it():
    pressed = "act.moveTo(30, 1, 2); told.push(act.state.key);"  # any key: it was chosen by a user
    heard = "board.put('playhead', { ...playhead, name: 'b' }); told.push(act.state.key);"
    shown = "model_.put('shown', { key: 4, name: 'b' }); told.push(act.state.key);"
    acknowledged = "board.rnPending.clear();"
    assert told(f"{pressed} {acknowledged} {heard} {shown}") == ["look.to 30", 2, 2, 4]


@needs_node
def test_where_messages_are_few_play_back_goes_on_once_each_step_was_told_and_shown():
    assert told("act.moveTo(10); pass(5000); act.play(); told.push(every);")[-1] == 1200


@needs_node
def test_of_two_decks_of_one_session_each_is_told_the_one_that_was_moved_last_being_last():
    both = "act.moveTo(10); act.moveTo(20); pass(100); then.moveTo(15); then.moveTo(25); "
    seen = ["look.to 10", "look.to 20", "look.to 15", "look.to 25"]
    assert told(f"{both}act.ask('moment.restore'); pass(5000);") == [*seen, "moment.restore"]
    assert told(f"{both}pass(5000);") == seen
    assert told(f"{both}act.toNewest(); act.ask('live.run'); pass(5000);") == [
        *seen[:3],
        "look.to 25",
        "look.newest",
        "live.run",
    ]
