"""Keep: when checkpoints are made, and which of them stay.

Start reading at `retention` (`RetentionPanel`: what a policy would delete is shown, and exactly that is
deleted), then `sheet` (a tile per checkpoint) and `forecast` (how the disk fills), both pure, and
`schedule` (`CheckpointPanel`: interval, and a snapshot by hand).

It may import `ringnb.panels.core` and everything below the panels; never another package of panels.
"""
