"""The file of `--use_cache`: its keys are requests alone, so each model and mask gets a table of its own in it."""

from sqlitedict import SqliteDict


def use_own_table(answers: SqliteDict, identity: str) -> None:
    """Let ``answers`` read and write the table of ``identity`` from now on.

    The harness opens the file before it tells its model of it, so the table is changed in the open dictionary.
    """
    of_identity = SqliteDict(answers.filename, tablename=f"mascing {identity}", autocommit=True)  # makes the table
    answers.tablename = of_identity.tablename
    of_identity.close()
