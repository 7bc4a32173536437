"""What every panel is built on.

Start reading at `panel` (what a panel is), then `controller` (what the panels of one session share).
A click goes from the browser by the session's `Hand` (`widgets`) to the `switchboard`, which passes it
on by its name; the handler calls `Controller.submit`, and it is done on one of the `workers`. What came
of it is one of the `messages`. What panels show goes the other way: `state.StateReader` reads it,
`Panel.show` puts it on its own widgets and the controller on the session's `Board`, the `display_loop`
sends it. `live` serves what acts on the live actors, `news` says what the session does by itself.

It may import the session and everything below; never a panel.
"""
