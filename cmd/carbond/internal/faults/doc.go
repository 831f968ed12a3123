// Package faults holds the randomised tests of power cuts and failing disks.
// `make faults` runs thousands of them, `make test` a few hundred.
//
// A child process applies a seeded history to a store, commits consumer groups,
// writes view files, takes backups and restores them, all on a file system of
// faultfs. It marks in the record of that file system what it was told to be
// durable. Then:
//
//   - TestPowerCuts replays the record up to a random operation: what was synced,
//     and a random part of the rest. The directory must pass fsck, open, hold
//     everything that had been acknowledged, equal the model, and go on.
//   - TestLiveFaults lets operations fail while the child runs, and kills it. It
//     must heal or end with a reason, and the same must hold.
//
// The package has no code of its own. The scripted walsender's runs are in
// replicate, those with a real Postgres in the e2e folder, power cuts of the whole
// daemon among them.
package faults
