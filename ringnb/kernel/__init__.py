"""Where actors run, for as long as the session lives: lanes, rings, staging. Knows no storage.

Start with `ringnb.kernel.base` (what a kernel is) and `ringnb.kernel.layout` (the words that host and
kernel share). A command goes from `ringnb.kernel.client` over the H2K ring of `ringnb.kernel.ring` to a
lane's leader (`ringnb.kernel.cpu.leader`, `ringnb.kernel.cuda.leader`), which does what
`ringnb.kernel.rules` say, and answers on the K2H ring; `ringnb.kernel.host` is the host's end of both.
The README of this folder says how it all works, and what was run where.

It imports `ringnb.actors`, `ringnb.messages`, `ringnb.errors` and `ringnb._support`, and never a
checkpoint, a session or anything above.
"""
