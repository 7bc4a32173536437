"""The events panel: the log, with times that stay."""

from __future__ import annotations

from waiting import until

from ringnb.messages.events import Event


def test_the_time_of_an_event_stays_the_same_however_long_the_log_grows(session):
    panel, log = session.panel("events"), session.events
    for second in range(1, 601):  # more than a panel looks at
        log.append(Event("committed", 0, second, t_ns=log.began_ns + second * 10**9))
    until(lambda: "600.000" in panel.listing.text)
    assert panel.listing.text.splitlines()[1].split("\t")[:4] == [
        "401.000",
        "0",
        "committed",
        "401",
    ]
    shown = log._repr_html_()  # in a cell
    assert "The last 30 of 600 events" in shown
    assert shown.count("<tr>") == 31
    assert "571.000" in shown
