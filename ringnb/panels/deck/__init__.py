"""The deck: an actor's time, and what moves it: run, pause, step, restore.

Start reading at `timeline` (`TimelinePanel`: the checkpoints of one actor), then `actors`
(`ActorPanel`: run, pause, step, stop, restart).

It may import `ringnb.panels.core` and everything below the panels; never another package of panels.
"""
