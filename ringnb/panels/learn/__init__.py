"""Learn: how a snapshot travels, with a crank, faults and questions.

Start reading at `lifecycle` (`LifecyclePanel`), then `lifecycle_scene` (from events to the picture,
pure), `faults` (break the session on purpose) and `prediction` (answer first, then measure).

It may import `ringnb.panels.core` and everything below the panels; never another package of panels.
"""
