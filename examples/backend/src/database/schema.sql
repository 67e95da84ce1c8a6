-- What stands here of codes, tokens, HMACs, idempotency keys and revision tokens is their keyed hash. Days are days since 1970, times milliseconds.

CREATE TABLE IF NOT EXISTS setting (
    name TEXT PRIMARY KEY,
    number BIGINT,
    bytes BYTEA
);

-- A code that was given out. `repeat_hash` is the idempotency key under which it was used.
CREATE TABLE IF NOT EXISTS code (
    code_hash BYTEA PRIMARY KEY,
    test_type TEXT NOT NULL,
    onset_day BIGINT,
    test_day BIGINT,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    repeat_hash BYTEA
);
CREATE INDEX IF NOT EXISTS code_expires_at ON code (expires_at);

-- What a code was exchanged for. `hmac_hash` is the HMAC for which the certificate was made.
CREATE TABLE IF NOT EXISTS token (
    token_hash BYTEA PRIMARY KEY,
    test_type TEXT NOT NULL,
    onset_day BIGINT,
    expires_at BIGINT NOT NULL,
    hmac_hash BYTEA
);
CREATE INDEX IF NOT EXISTS token_expires_at ON token (expires_at);

-- A report, so that its repeat is known. Nothing in it leads to its keys.
CREATE TABLE IF NOT EXISTS report (
    report_hash BYTEA PRIMARY KEY,
    test_type TEXT NOT NULL,
    inserted BIGINT NOT NULL,
    is_partial BIGINT NOT NULL,
    received_day BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS report_received_day ON report (received_day);

-- A key that was reported, or made up to hide how few were.
CREATE TABLE IF NOT EXISTS diagnosis_key (
    key_bytes BYTEA PRIMARY KEY,
    rolling_start BIGINT NOT NULL,
    rolling_period BIGINT NOT NULL,
    transmission_risk BIGINT NOT NULL,
    test_type TEXT NOT NULL,
    onset_days BIGINT,
    free_at BIGINT NOT NULL,
    received_day BIGINT NOT NULL,
    owner_hash BYTEA NOT NULL,
    is_made_up BIGINT NOT NULL,
    batch BIGINT,
    revised_type TEXT,
    revised_onset_days BIGINT,
    revised_batch BIGINT
);
CREATE INDEX IF NOT EXISTS diagnosis_key_waiting ON diagnosis_key (free_at) WHERE batch IS NULL;
CREATE INDEX IF NOT EXISTS diagnosis_key_revised ON diagnosis_key (batch) WHERE revised_type IS NOT NULL AND revised_batch IS NULL;
CREATE INDEX IF NOT EXISTS diagnosis_key_batch ON diagnosis_key (batch);
CREATE INDEX IF NOT EXISTS diagnosis_key_revised_batch ON diagnosis_key (revised_batch) WHERE revised_batch IS NOT NULL;
CREATE INDEX IF NOT EXISTS diagnosis_key_received_day ON diagnosis_key (received_day);

-- A published file. Once written, it can be made again as long as none of its keys is erased.
CREATE TABLE IF NOT EXISTS batch (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    part BIGINT NOT NULL,
    parts BIGINT NOT NULL,
    key_count BIGINT NOT NULL,
    written_at BIGINT
);

-- A sign-up on the waiting list. `place` is its log number: it is given at commit, rises with the order of commits, and is never given again. The form is
-- there as it came, sealed; `form_operation` is the operation for which the present one was sealed. `repeat_hash` knows the repeat of a form that was
-- sealed here; `receipt_proof` is in the receipt. Without a form it was withdrawn or erased: what is left says nothing of anybody, and gives the same
-- receipt for ever.
CREATE TABLE IF NOT EXISTS sign_up (
    place BIGINT PRIMARY KEY,
    operation_id BYTEA NOT NULL UNIQUE,
    form_hash BYTEA NOT NULL,
    secret_hash BYTEA NOT NULL,
    repeat_hash BYTEA,
    receipt_key TEXT NOT NULL,
    receipt_proof BYTEA NOT NULL,
    received_s BIGINT NOT NULL,
    form_operation BYTEA NOT NULL,
    key_id TEXT,
    encapsulated BYTEA,
    sealed BYTEA,
    state TEXT NOT NULL,
    reason TEXT NOT NULL
);

-- To open a form and to confirm it: one for each sign-up and each correction, made in the same transaction, and kept when it is done.
-- By place, so that a crowd adds its tasks at the end.
CREATE TABLE IF NOT EXISTS task (
    place BIGINT NOT NULL,
    operation_id BYTEA NOT NULL,
    done_at BIGINT,
    PRIMARY KEY (place, operation_id)
);
CREATE INDEX IF NOT EXISTS task_waiting ON task (place) WHERE done_at IS NULL;

-- A correction, so that its repeat is known.
CREATE TABLE IF NOT EXISTS correction (
    operation_id BYTEA PRIMARY KEY,
    place BIGINT NOT NULL,
    form_hash BYTEA NOT NULL,
    receipt_key TEXT NOT NULL,
    receipt_proof BYTEA NOT NULL,
    received_s BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS correction_place ON correction (place);

-- What was opened: keyed hashes, under a key that only the opener has, of the national number and of the address; and the last day, counted from
-- 1970, of whose other sign-ups it is told.
CREATE TABLE IF NOT EXISTS opened (
    place BIGINT PRIMARY KEY,
    number_hash BYTEA NOT NULL,
    contact_hash BYTEA NOT NULL,
    noticed_on BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS opened_number ON opened (number_hash, place);
CREATE INDEX IF NOT EXISTS opened_noticed ON opened (number_hash, noticed_on);

-- A mail that is to be sent, was, or was given up because the server refused it for days. What it says and to whom is in the form of its sign-up.
-- `message_id` is the part before the `@`.
CREATE TABLE IF NOT EXISTS mail (
    message_id TEXT PRIMARY KEY,
    place BIGINT NOT NULL,
    kind TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    sent_at BIGINT,
    given_up_at BIGINT
);
CREATE INDEX IF NOT EXISTS mail_waiting ON mail (due_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
CREATE INDEX IF NOT EXISTS mail_place ON mail (place);
