//! What `vigie run --help` says below the options.

const FOLDERS: &str = "\
Without --store it is vigie/store.db in the folder for the user's data: $XDG_DATA_HOME or ~/.local/share on Linux, ~/Library/Application Support \
on macOS, %APPDATA% on Windows. It is made where there is none, for its owner alone.

Examples:

  vigie run
  vigie run --keys incoming --public-key public.pem
  vigie run --server client.json
  vigie run --adapter hci0 --advertise-adapter hci1 --continuous --plain

Exit codes: 0 ended by q, Ctrl-C, SIGTERM or SIGHUP and everything is written, 2 not started, or not everything is written";

const VIEW: &str = "\
Where there is a terminal it is filled with the state of radio and keys, who is near with the strength over time, exposures with what made them, \
and messages. q, Esc or Ctrl-C quits, p pauses and goes on, ? explains and shows everything in full. Without a terminal, and with --plain, a line \
is printed when something changes, and a summary at most once a minute.

A device is shown by a running number, and has another one whenever it changes its identifier. How near it is follows from the attenuation of its \
signal, in the steps immediate, near, medium and far of the exposure configuration; it can be wrong by 20 dB.

A key file in the folder of --keys is taken when it has stopped changing, once, and again when it has changed. Names that begin with a dot are \
passed over. A file that is not valid is told with the reason, and blocks no other.

With --server the key lists of these servers are asked for every 4 hours, at a moment of this device's own, and what vigie report left waiting is \
sent. The public keys in client.json vouch for the files. Now and then something random is sent that looks like a report, so that nobody who \
watches the network can tell who reports. Tracing starts without them: an address that gives nothing is asked again within 30 s and then each 10 to \
15 minutes, and what it gave is kept for the next start. --keys works beside it. Without --server nothing uses the network.

The bulletin of these servers is fetched every 4 hours, too, and shown with its age. It may change how exposures are weighed, how often lists are \
asked for, and the service to send under; the service before is heard for 14 more days. It cannot end tracing or erase anything.";

const EVENTS: &str = "\
Events of --json, one object a line, each with `event` and `time` (RFC 3339, UTC). Devices are running numbers; no identifier, key or address is \
in any. Fields in [] may be null.

  started             version, [adapter], [advertise_adapter], service_uuid, is_connectable,
                      is_continuous, store, [keys], [server]
  tracing_changed     tracing: running, paused or stopped
  identifier_changed  is_new_key
  radio_failed        reason
  radio_resumed
  radio_limited       limits: what works less well than it should, in words; may be empty
  device_appeared     device, nearness (immediate, near, medium or far), attenuation_db, rssi_dbm
  device_gone         device
  devices_changed     appeared, gone, near: in place of the two above where many change at once
  clock_jumped        expected, found: what the clock should have shown, and what it showed
  key_file            file, status (matched, already_matched, refused or unfinished), keys,
                      [reason]
  keys_failed         reason: the folder cannot be read, or its files not be checked
  keys_resumed
  exposures           risk_level (none, low or high), days: each with date, risk_level, minutes,
                      nearness, explanation, and cause with report_types, weighted_minutes,
                      [least_attenuation_db], [most_attenuation_db]
  report_changed      state (waiting_for_network, waiting, waiting_for_clock, needs_new_code,
                      published or refused), made_at, [until], [keys], [ahead_s], [reason]
  key_list_lost_files index_url, files: so many have gone from it before their time
  key_list_is_stale   index_url, newest: nothing has come since
  listed_file_refused index_url, file
  server_clock_differs ahead_s: seconds that this computer's clock is ahead of a server's
  bulletin            serial: there is a new one; vigie news shows it
  bulletin_refused    reason: what came in its place; the one before stays
  servers_absent      reason: the address of --server does not give them; it is asked again
  servers_found       it has given them, or others than before
  alert_raised        date, risk_level
  alert_withdrawn     date
  store_recovered     own_keys, alerts: what was saved of a damaged store
  store_failed        reason
  status              at most once a minute: tracing, is_sending, is_listening, [radio_problem],
                      [seconds_to_next_identifier], devices (each as in device_appeared),
                      encounters_today, encounters, own_keys, key_files_matched,
                      key_files_refused, key_lists (each with index_url, [seen_at], [next_poll],
                      [server_asks_for], [newest], applied, refused, waiting), reports (each as
                      in report_changed), risk_level
  stopping            what was heard is being written
  stopped             encounters_today, encounters, own_keys, store; the last line, when all is
                      written";

/// For `-h`.
pub(super) fn short() -> String {
    format!("{FOLDERS}\n\n--help also explains the view and the events of --json.")
}

/// For `--help`.
pub(super) fn long() -> String {
    format!("{VIEW}\n\n{EVENTS}\n\n{FOLDERS}")
}
