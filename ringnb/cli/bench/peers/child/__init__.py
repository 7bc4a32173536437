"""The process of a peer: what runs in the peers' environment, where ringnb is not installed.

Start with ``__main__``, which is run as a script: ``python child KIND NAME SETTINGS``. It imports only
what lies beside it, `steppers` and `savers`, and these only NumPy until a peer is asked for. ringnb's
own side imports from here what both must agree on, such as the wave's start.
"""
