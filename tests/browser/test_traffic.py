"""What a cockpit sends, counted at the websocket: when it is followed, at rest, and not looked at."""

from __future__ import annotations

import re

from . import cells
from .driver import expect
from .lab import panel_in

# The socket is known from the first message on that the page sends by it.
_COUNT = """() => {
  window.received = [0, 0];
  const seen = new WeakSet();
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (...what) {
    if (!seen.has(this)) {
      seen.add(this);
      this.addEventListener('message', ({data}) => {
        window.received[0] += data.size ?? data.byteLength ?? data.length;
        window.received[1] += 1;
      });
    }
    return send.apply(this, what);
  };
}"""


def test_followed_at_rest_and_not_looked_at(notebook, record_property):
    page = notebook.page
    page.set_viewport_size({"width": 1280, "height": 1400})
    below = "from IPython.display import HTML; HTML('<div style=\"height: 3000px\">below</div>')"
    notebook.open([cells.session(interval=1.0, pace=100), "session.panel()", below])
    notebook.run_all()
    page.evaluate(_COUNT)
    notebook.python("session.resume(0)")
    cockpit = panel_in(notebook.output(1), "cockpit")
    cockpit.scroll_into_view_if_needed()
    # Whichever is the newest by now.
    expect(cockpit.locator(".rn-pic .rn-box")).to_have_attribute("data-name", re.compile("step_"))

    def count(seconds):
        page.evaluate("() => { window.received = [0, 0]; }")
        page.wait_for_timeout(1000 * seconds)
        size, messages = page.evaluate("() => window.received")
        return round(size / seconds / 1000, 2), round(messages / seconds, 2)

    page.wait_for_timeout(3000)
    followed, messages = count(10)
    record_property("followed", [followed, messages])
    assert 1 < followed <= 75
    assert messages <= 20
    notebook.python("session.pause()")
    page.wait_for_timeout(4000)
    at_rest, _ = count(6)
    record_property("at_rest", at_rest)
    assert at_rest <= 2
    notebook.python("session.resume(0)")
    notebook.output(2).get_by_text("below").scroll_into_view_if_needed()
    page.mouse.move(600, 700)
    page.mouse.wheel(0, 3000)
    page.wait_for_timeout(4000)
    unseen, _ = count(8)
    record_property("not_looked_at", unseen)
    assert unseen <= 1
