"""The deck: an actor's time, and what moves it: run, pause, step, look back, restore, branch.

Start reading at `timeline` (`TimelinePanel`: the line, and the moment that is looked at). What it shows:
`lanes` (runs, and the way to a moment), `inputs` and `marks` (what stands on the line, and what of it a
page lacks), `film` (small pictures). What moves: `looking` (the playhead), `moments` (restore, branch,
pin), which serve the page whatever panels are open. `actors` is `ActorPanel`; `widgets` and the scripts
in ``static/`` are the page's half.

The way of a drag: ``drawing.js`` takes the pointer, ``deck.js`` moves the playhead at once and sends
``look.to``; `Looking` finds the newest sound checkpoint at or before that step, which the stage then
shows; the board brings back what was found.

It may import `ringnb.panels.core` and everything below the panels; never another package of panels.
"""
