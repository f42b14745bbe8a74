"""How near to limits, those of a store or of a service, its runs are.

Words: a *limit* has a name such as `run.params`, a value and an action; a *preset* is the limits of a service, each
    with where and when it was read; *use* is what counts towards a limit.

What limits there are says `format.quota`, those of services `format.quota_presets`, which a push goes by as well; what
keeps limits while runs are written lies in `store.run_quota`, and
how use is held against limits, for a push as well, in `store.quota_use`.
"""
