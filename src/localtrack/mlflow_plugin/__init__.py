"""MLflow on a localtrack store: what MLflow finds when a tracking URI begins with `localtrack:`.

*Host*: the MLflow that is installed. *Proxied*: said of artifacts that clients send to an MLflow server, which puts
them into the store; else clients read and write the files themselves. *Writer*: this process's hand in one run, kept
open between calls.

Only this package imports mlflow, and only its module `host` imports what MLflow does not promise to keep. `entry`
imports nothing of MLflow, which loads it while it is being imported itself.
"""
