"""What every layer may use, and what knows none of them.

`ringnb._support.checks`: checks of what a user hands over, one function per kind of value.
`ringnb._support.text`: lines, tables and sizes for terminals and notebooks.
`ringnb._support.children`: Python processes that ringnb starts.
`ringnb._support.machine`: what this process may use of the machine.
`ringnb._support.off_main`: keeps locks off the main thread, so that signal handlers may call.
`ringnb._support.panel_opener`: what opens a session's panels, since a session imports none.
`ringnb._support.pool`: threads for files, also while the interpreter ends.
`ringnb._support.version`: the version of ringnb, and of what is installed beside it.

Nothing here imports anything of ringnb but other modules of this package.
"""
