"""The stage: pictures of a field, of one stored checkpoint or of two.

Start reading at `fields` (`FieldPanel`), then `compare` and `parameters`. `pictures` says what is shown,
in bytes and in words; `feed` when it is drawn: on the drawer's thread, from a stored checkpoint, never
from the live actor. `widgets.Picture` holds it for the page, `static/stage.js` colours it there.

It may import `ringnb.panels.core` and everything below the panels; never another package of panels.
"""
