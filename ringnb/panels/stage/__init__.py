"""The stage: pictures of a field, of one stored checkpoint or of two.

Start reading at `fields` (`FieldPanel`, `ComparePanel`). A picture is made on the drawer's thread from
a stored checkpoint, never from the live actor, and put on a display widget with words for it.

It may import `ringnb.panels.core` and everything below the panels; never another package of panels.
"""
