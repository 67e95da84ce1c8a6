-- The newest schema (version 4). What stands inside a statement is in the database: all of it fits into the first page, so that damage elsewhere
-- costs no table its definition. Times are milliseconds since 1 January 1970, intervals and days are counted from there as well.

-- One row: what the store knows of itself.
-- secret: names exposures without their keys
-- clock_ahead_ms: both while erasure waits: time/watch.rs
-- erasure: what an erasure has still to do: erasure.rs
-- recovered_at: seconds; set until the app was told
-- wrapped_key: the data key that what is sealed is sealed with, wrapped by the phone's vault; NULL where nothing is sealed: seal.rs
-- keys_lost: set until the app was told
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

-- Keys of this device, in the order in which they were made: 16 bytes, sealed 44.
CREATE TABLE own_keys (
    id             INTEGER PRIMARY KEY,
    key            BLOB NOT NULL CHECK (length(key) IN (16, 44)),
    rolling_start  INTEGER NOT NULL CHECK (rolling_start >= 0 AND rolling_start + rolling_period <= 4294967295),
    rolling_period INTEGER NOT NULL CHECK (rolling_period BETWEEN 1 AND 144),
    highest_sent   INTEGER CHECK (highest_sent >= rolling_start AND highest_sent < rolling_start + rolling_period)
) STRICT;

-- What is known of this device's radio, now and earlier.
CREATE TABLE calibrations (
    id              INTEGER PRIMARY KEY,
    rssi_correction INTEGER NOT NULL CHECK (rssi_correction BETWEEN -128 AND 127),
    transmit_power  INTEGER NOT NULL CHECK (transmit_power BETWEEN -128 AND 127),
    confidence      INTEGER NOT NULL CHECK (confidence BETWEEN 0 AND 3),
    UNIQUE (rssi_correction, transmit_power, confidence)
) STRICT;

-- What one scan heard of one identifier. No index: the matcher reads all of it, and a row of one packet is 42 bytes.
-- time: of the first packet
-- packets: codec.rs
-- since_scan: seconds
-- measured_by: us, peer
CREATE TABLE encounters (
    id           INTEGER PRIMARY KEY,
    frame        BLOB NOT NULL CHECK (length(frame) = 20),
    time         INTEGER NOT NULL,
    packets      BLOB NOT NULL CHECK (length(packets) >= 1),
    since_scan   INTEGER CHECK (since_scan BETWEEN 0 AND 65535),
    measured_by  INTEGER NOT NULL CHECK (measured_by IN (0, 1)),
    calibration  INTEGER NOT NULL REFERENCES calibrations
) STRICT;

-- Diagnosis keys that were met. The name is a keyed hash; the key itself is never stored.
CREATE TABLE exposures (
    id               BLOB PRIMARY KEY CHECK (length(id) = 16),
    report_type      INTEGER CHECK (report_type BETWEEN 0 AND 5),
    days_since_onset INTEGER CHECK (days_since_onset BETWEEN -128 AND 127)
) STRICT, WITHOUT ROWID;

-- What was heard of them, without the identifiers.
-- time: of the first packet
CREATE TABLE contacts (
    exposure       BLOB NOT NULL REFERENCES exposures ON DELETE CASCADE,
    time           INTEGER NOT NULL,
    measured_by    INTEGER NOT NULL CHECK (measured_by IN (0, 1)),
    packets        BLOB NOT NULL CHECK (length(packets) >= 1),
    transmit_power INTEGER NOT NULL CHECK (transmit_power BETWEEN -128 AND 127),
    since_scan     INTEGER CHECK (since_scan BETWEEN 0 AND 65535),
    calibration    INTEGER NOT NULL REFERENCES calibrations,
    PRIMARY KEY (exposure, time, measured_by)
) STRICT, WITHOUT ROWID;

-- Warnings. They outlive their exposure where that could not be salvaged, so they do not refer to it.
CREATE TABLE alerts (
    exposure     BLOB PRIMARY KEY CHECK (length(exposure) = 16),
    date         INTEGER NOT NULL CHECK (date BETWEEN 0 AND 4294967295),
    raised_at    INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL CHECK (acknowledged IN (0, 1)),
    level        INTEGER NOT NULL CHECK (level BETWEEN 0 AND 2)
) STRICT, WITHOUT ROWID;

-- How far each key file has been matched; named by the hash of its signed part.
CREATE TABLE files (
    id        BLOB PRIMARY KEY CHECK (length(id) = 32),
    keys_done INTEGER NOT NULL CHECK (keys_done >= 0),
    complete  INTEGER NOT NULL CHECK (complete IN (0, 1)),
    marked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Operations on their way to a server, and what became of them; inside: courier/outbox.rs, sealed where
-- the store is. Ids are random: an app may hold one for long.
-- No more is due where `due` is NULL.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY,
    made_at  INTEGER NOT NULL,
    due      INTEGER,
    attempts INTEGER NOT NULL,
    content  BLOB NOT NULL
) STRICT;

-- What else the courier remembers, by name: how servers answered, key lists, the revision token. Sealed where the store is.
CREATE TABLE notes (
    name    TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
