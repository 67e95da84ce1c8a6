-- From version 2 to 3: what is on its way to servers.

-- Operations on their way to a server, and what became of them; inside: courier/report. Ids are random: an app may hold one for long.
-- No more is due where `due` is NULL.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY,
    made_at  INTEGER NOT NULL,
    due      INTEGER,
    attempts INTEGER NOT NULL,
    content  BLOB NOT NULL
) STRICT;

-- What else the courier remembers, by name: how servers answered, key lists, the revision token.
CREATE TABLE notes (
    name    TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
