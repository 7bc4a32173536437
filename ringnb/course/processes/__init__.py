"""Programs that lessons run in other processes, each with ``python -m ringnb.course.processes.NAME``.

`writer` is killed in lesson 5 while it commits, `cranked` between two stages of a commit; `compiled`
compiles the CUDA kernel for lesson 8. They print their results on standard output. `preloaded` is no
program: the processes of lesson 4 are forked with it. They may import what the course may import, but
no lesson.
"""
