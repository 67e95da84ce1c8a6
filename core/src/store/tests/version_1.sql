-- Version 1, as it was: for the test of the migrations. Times are milliseconds since 1 January 1970, intervals and days are counted from there as well.

-- One row: what the store knows of itself.
-- secret: names exposures without their keys
-- erasure: what an erasure has still to do: erasure.rs
-- recovered_at: seconds; set until the app was told
CREATE TABLE state (
    id                  INTEGER PRIMARY KEY CHECK (id = 1),
    secret              BLOB NOT NULL CHECK (length(secret) = 32),
    clock_last_seen     INTEGER,
    clock_ahead_ms      INTEGER,
    clock_doubted_since INTEGER,
    erasure             INTEGER NOT NULL DEFAULT 0,
    recovered_at        INTEGER
) STRICT;

-- Keys of this device, in the order in which they were made.
CREATE TABLE own_keys (
    id             INTEGER PRIMARY KEY,
    key            BLOB NOT NULL CHECK (length(key) = 16),
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

