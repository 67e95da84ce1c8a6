-- From version 3 to 4: own keys may be sealed, and the wrapped key to them. SQLite cannot change a table's checks, so both tables are made anew.

ALTER TABLE own_keys RENAME TO own_keys_3;

-- Keys of this device, in the order in which they were made: 16 bytes, sealed 44.
CREATE TABLE own_keys (
    id             INTEGER PRIMARY KEY,
    key            BLOB NOT NULL CHECK (length(key) IN (16, 44)),
    rolling_start  INTEGER NOT NULL CHECK (rolling_start >= 0 AND rolling_start + rolling_period <= 4294967295),
    rolling_period INTEGER NOT NULL CHECK (rolling_period BETWEEN 1 AND 144),
    highest_sent   INTEGER CHECK (highest_sent >= rolling_start AND highest_sent < rolling_start + rolling_period)
) STRICT;

INSERT INTO own_keys SELECT id, key, rolling_start, rolling_period, highest_sent FROM own_keys_3;
DROP TABLE own_keys_3;

ALTER TABLE state RENAME TO state_3;

-- One row: what the store knows of itself.
CREATE TABLE state (
    id                  INTEGER PRIMARY KEY CHECK (id = 1),
    secret              BLOB NOT NULL CHECK (length(secret) = 32),
    clock_last_seen     INTEGER,
    clock_ahead_ms      INTEGER,
    clock_doubted_since INTEGER,
    erasure             INTEGER NOT NULL DEFAULT 0,
    recovered_at        INTEGER,
    wrapped_key         BLOB CHECK (length(wrapped_key) BETWEEN 1 AND 4096),
    keys_lost           INTEGER NOT NULL DEFAULT 0 CHECK (keys_lost IN (0, 1))
) STRICT;

INSERT INTO state (id, secret, clock_last_seen, clock_ahead_ms, clock_doubted_since, erasure, recovered_at)
    SELECT id, secret, clock_last_seen, clock_ahead_ms, clock_doubted_since, erasure, recovered_at FROM state_3;
DROP TABLE state_3;
