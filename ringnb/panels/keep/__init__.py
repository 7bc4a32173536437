"""Keep: when checkpoints are made, and which of them stay.

Start reading at `retention` (`RetentionPanel`: preview, then delete), then `schedule`
(`CheckpointPanel`: interval, and a snapshot by hand).

It may import `ringnb.panels.core` and everything below the panels; never another package of panels.
"""
