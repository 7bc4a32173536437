"""What every panel is built on.

Start reading at `panel` (what a panel is), then `controller` (what the panels of one session share).
A click goes from the browser to a control (`widgets`), through `Panel.on_action` to
`Controller.submit`, and is done on one of the `workers`; `Controller.tell` keeps what came of it. What
panels show goes the other way: `state.StateReader` reads it, `Panel.show_frame` and `Panel.show` put
it, the `display_loop` sends it.

It may import the session and everything below; never a panel.
"""
