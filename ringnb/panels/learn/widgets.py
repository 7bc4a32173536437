"""The widgets of the tab Learn: displays, which send by the hand; see `ringnb.panels.core.widgets`."""

from __future__ import annotations

from typing import Any

import traitlets

from ringnb.panels.core.widgets import View
from ringnb.panels.learn.lifecycle_scene import PLACES

__all__ = ["CrankHandle", "FaultSwitches", "LifeMap", "Question"]


class LifeMap(View):
    """The stations of a snapshot request, the requests on their way, and how long each took."""

    shows = traitlets.Unicode("lifemap").tag(sync=True)
    scene = traitlets.Dict().tag(sync=True)  # see `ringnb.panels.learn.lifecycle_scene.scene_of`
    stations: Any = traitlets.List(PLACES).tag(sync=True)  # id, name and territory of each
    times = traitlets.Dict().tag(sync=True)  # see `lifecycle_scene.times_of`


class CrankHandle(View):
    """The stages that a hand turns, or that a service thread does."""

    shows = traitlets.Unicode("crank").tag(sync=True)
    by_hand = traitlets.Bool().tag(sync=True)
    turns: Any = traitlets.List().tag(sync=True)  # action, name and help of each stage


class FaultSwitches(View):
    """The switches that break a session, and what the design does about each."""

    shows = traitlets.Unicode("faults").tag(sync=True)
    lessons: Any = traitlets.List().tag(sync=True)  # the fault's name, and what is to be learnt


class Question(View):
    """What stands above the field for a prediction, the question; or below it, buttons and answer."""

    shows = traitlets.Unicode("question").tag(sync=True)
    asks = traitlets.Bool().tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    answer = traitlets.Unicode().tag(sync=True)
