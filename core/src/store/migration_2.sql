-- From version 1 to 2: what matching finds.

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
