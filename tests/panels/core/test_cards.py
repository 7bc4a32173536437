"""Which pictures of cards the page paints, and when it paints them again: `pixels.js` without a page."""

from __future__ import annotations

from pathlib import Path

from javascript import needs_node, printed

from ringnb.panels import core

PIXELS = Path(core.__file__).parent / "static" / "pixels.js"

# The last function of a name counts: a page is not needed, and unpacking ends when told.
PAGE = """
let theme = "light", painted = [], ends = {};
function mapFor(kind) { return `${theme} ${kind}`; }
function unpack(packed) { return new Promise((end) => { ends[packed.is] = () => end(packed.is); }); }
function paint(canvas, data, rows, columns, map) { painted.push([canvas, data, rows, columns, map]); }
const picture = (is, packed = { is }) => ({ rows: 2, columns: 3, packed, kind: "two" });
const items = new Map([[0, { canvas: "first" }], [1, { canvas: "second" }]]);
const said = [], tell = () => { said.push(painted); painted = []; };
(async () => {
  const old = { 0: picture("a"), 1: picture("b"), 7: picture("of no card") };
  const all = { 0: picture("c"), 1: old[1] };
  const slow = paintCards(items, old), fast = paintCards(items, all);
  ends.c(); ends.b(); await fast;
  ends.a(); await slow; tell();  // the older picture of the first comes last
  await paintCards(items, all); tell();
  theme = "dark";
  const other = paintCards(items, all);
  ends.c(); ends.b(); await other; tell();
  console.log(JSON.stringify(said));
})();
"""


@needs_node
def test_a_card_is_painted_once_and_again_only_for_a_newer_picture_or_other_colours():
    script = f"const LUTS = {{}};{PIXELS.read_text(encoding='utf-8')}{PAGE}"
    first, again, dark = printed(script)
    shape = [2, 3]
    assert sorted(first) == [
        ["first", "c", *shape, "light two"],
        ["second", "b", *shape, "light two"],
    ]
    assert again == []
    assert sorted(dark) == [["first", "c", *shape, "dark two"], ["second", "b", *shape, "dark two"]]
