-- What version_1.db holds, for tests in other languages as well: the own key of 22 October 2020, sent until 18:00 UTC, and three encounters.

INSERT INTO state (id, secret, clock_last_seen) VALUES (1, x'202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f', 1603389600000);
INSERT INTO own_keys VALUES (4, x'000102030405060708090a0b0c0d0e0f', 2672208, 144, 2672316);
INSERT INTO calibrations VALUES (1, 3, -20, 2);
-- 17:00: one packet of -64 dBm.
INSERT INTO encounters VALUES (7, x'000000000000000000000000000000000000000a', 1603386000000, x'c0', 300, 0, 1);
-- 17:30: two packets of -70 and -71 dBm, 260 ms apart, measured by the other device.
INSERT INTO encounters VALUES (8, x'111111111111111111111111111111110000000b', 1603387800000, x'ba8402b9', NULL, 1, 1);
-- 18:00: one packet of -90 dBm.
INSERT INTO encounters VALUES (9, x'222222222222222222222222222222220000000c', 1603389600000, x'a6', 270, 0, 1);
